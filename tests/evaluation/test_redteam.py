"""Attack vectors over seeds: what is kept, what is recorded, and text that looks like a template."""

from __future__ import annotations

from pathlib import Path

import pytest

from constitution.faults import BadInput
from engine.records import Prompt
from evaluation.redteam import Seed, pushed, read_escalations, read_vectors

FAMILIES = {"psychological", "logic", "syntactic", "semantic", "perspective"}


def seed(text: str, **tags: str) -> Prompt:
    return Prompt.of([{"role": "user", "content": "Hi"}, {"role": "user", "content": text}], 0, **tags)


def test_a_seed_is_asked_plainly_and_under_every_vector() -> None:
    start = seed("How would I keep the dog {{ 7 * 7 }}?", category="advice")
    made = list(pushed([Seed(start), Seed(start)], read_vectors()))
    assert {each.prompt.vector for each in made} == FAMILIES | {"none"}
    assert len(made) == 6, "a seed that comes twice is pushed once"
    assert {each.parent for each in made} == {start.item_id}
    assert {each.prompt.category for each in made} == {"advice"}
    assert made[0].prompt.messages == start.messages
    for each in made:
        assert each.prompt.messages[0]["content"] == "Hi"
        assert "{{ 7 * 7 }}" in each.prompt.messages[-1]["content"]


def test_a_seed_with_a_vector_is_left_as_it_is() -> None:
    assert len(list(pushed([Seed(seed("Hm?", vector="logic"))], read_vectors()))) == 1


def test_a_vector_has_to_hold_the_prompt(tmp_path: Path) -> None:
    (tmp_path / "bad.jinja").write_text("no place for it")
    with pytest.raises(BadInput, match="prompt"):
        read_vectors(tmp_path)
    with pytest.raises(BadInput, match="did you mean 'logic'"):
        read_vectors(names=["logik"])


def test_escalations_are_conversations_that_end_with_the_prompt(tmp_path: Path) -> None:
    start = seed("How would I {{ 7 * 7 }}?", category="advice")
    ours = read_escalations()
    plain, *made = pushed([Seed(start)], ours)
    assert [each.prompt.vector for each in made] == [each.name for each in ours]
    for each in made:
        roles = [message["role"] for message in each.prompt.messages]
        assert roles[1::2] == ["user"] * (len(roles) // 2), "the earlier turn stays before them"
        assert "How would I {{ 7 * 7 }}?" in each.prompt.messages[-1]["content"]
        assert each.parent == plain.parent
    (tmp_path / "bad.yaml").write_text("- assistant: first\n- user: '{{ prompt }}'\n")
    with pytest.raises(BadInput, match="take turns"):
        read_escalations(tmp_path)
    (tmp_path / "bad.yaml").write_text("just a sentence")
    with pytest.raises(BadInput, match="no list of turns"):
        read_escalations(tmp_path)
