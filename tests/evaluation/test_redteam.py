"""Attack vectors over seeds: what is kept, what is recorded, and text that looks like a template."""

from __future__ import annotations

from pathlib import Path

import pytest

from constitution.faults import BadInput
from engine.records import Prompt
from evaluation.redteam import pushed, read_vectors

FAMILIES = {"psychological", "logic", "syntactic", "semantic", "perspective"}


def seed(text: str, **tags: str) -> Prompt:
    return Prompt.of([{"role": "user", "content": "Hi"}, {"role": "user", "content": text}], 0, **tags)


def test_a_seed_is_asked_plainly_and_under_every_vector() -> None:
    start = seed("How would I keep the dog {{ 7 * 7 }}?", category="advice")
    made = list(pushed([start, start], read_vectors()))
    assert {each.prompt.vector for each in made} == FAMILIES | {"none"}
    assert len(made) == 6, "a seed that comes twice is pushed once"
    assert {each.parent for each in made} == {start.item_id}
    assert {each.prompt.category for each in made} == {"advice"}
    assert made[0].prompt.messages == start.messages
    for each in made:
        assert each.prompt.messages[0]["content"] == "Hi"
        assert "{{ 7 * 7 }}" in each.prompt.messages[-1]["content"]


def test_a_seed_with_a_vector_is_left_as_it_is() -> None:
    assert len(list(pushed([seed("Hm?", vector="logic")], read_vectors()))) == 1


def test_a_vector_has_to_hold_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_text("no place for it")
    with pytest.raises(BadInput, match="prompt"):
        read_vectors(tmp_path)
    with pytest.raises(BadInput, match="did you mean 'logic'"):
        read_vectors(names=["logik"])
