"""What a compare stage takes over from an earlier run, and what it asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constitution import Constitution
from engine.comparing import CompareChain
from engine.cost import usage_of
from engine.earlier import Earlier
from engine.records import Comparison, Prompt, as_table
from engine.settings import CompareSettings, SamplingSettings
from engine.storage import Folder, StageStore
from prompts.rendering import PromptSet
from tests.engine.rows_for_tests import ToldModel, principle, prompts

ASKED: list[Prompt] = prompts(6)


def law(**comparisons: str) -> Constitution:
    """Principles a, b and c, some with another question."""
    principles = tuple(
        principle(name, propositions=()).model_copy(update={"comparison": comparisons.get(name, f"Which by {name}?")})
        for name in "abc"
    )
    return Constitution(name="law", principles=principles)


def chain(model: ToldModel, constitution: Constitution, **given: Any) -> CompareChain:
    settings = CompareSettings(principles=2, propositions=False, **given.pop("settings", {}))
    asking = PromptSet.load(use_few_shots=False)
    return CompareChain(model, model, asking, constitution, settings, seed=given.pop("seed", 1), **given)


def rows_of(compare: CompareChain) -> list[Comparison]:
    async def every() -> list[Comparison]:
        return [row for prompt in ASKED for row in await compare.run(prompt)]

    return asyncio.run(every())


@pytest.fixture
def earlier(tmp_path: Path) -> Earlier:
    """A stage that was compared under the first law."""
    store = StageStore(Folder(str(tmp_path)), "03_compare", Comparison)
    store.write_part("0" * 16, 0, rows_of(chain(ToldModel(), law())), ())
    store.seal()
    return Earlier(store, {each.hash: each.comparison or "" for each in law().principles}, frozenset())


def reused(rows: Sequence[Comparison]) -> dict[str, int]:
    usages = usage_of(as_table(rows, Comparison))
    return {step: usage.reused for (step, _), usage in usages.items()}


def test_nothing_is_asked_twice(earlier: Earlier) -> None:
    model = ToldModel()
    again = rows_of(chain(model, law(), earlier=earlier.open()))
    assert model.asked == []
    assert reused(again) == {"respond": 12, "compare": 24}
    fresh = rows_of(chain(ToldModel(), law()))
    assert [row.probability_a for row in again] == [row.probability_a for row in fresh]


def test_an_edited_principle_is_asked_again_and_no_other(earlier: Earlier) -> None:
    model = ToldModel()
    rows = rows_of(chain(model, law(b="Which is kinder?"), earlier=earlier.open()))
    touched = [vote for row in rows for vote in row.votes if vote.principle_id == "b"]
    assert 0 < len(touched) < 24
    assert len(model.asked) == len(touched)
    assert all("Which is kinder?" in str(messages) for messages in model.asked)
    assert not any(call.reused for vote in touched for call in vote.calls)
    assert {vote.principle_hash for vote in touched} == {law(b="Which is kinder?").principles[1].hash}


@pytest.mark.parametrize(
    ("what", "respond", "compare"),
    [
        ({"seed": 2}, 0, 0),
        ({"settings": {"respond": SamplingSettings(temperature=0.5)}}, 0, 24),  # other draws, but the same words
        ({"model": ToldModel(revision="2")}, 0, 0),
    ],
)
def test_what_rests_on_something_else_is_asked_again(
    earlier: Earlier, what: dict[str, Any], respond: int, compare: int
) -> None:
    model = what.pop("model", ToldModel())
    found = reused(rows_of(chain(model, law(), earlier=earlier.open(), **what)))
    assert (found["respond"], found["compare"]) == (respond, compare)


def test_votes_that_may_not_be_taken_over_are_asked_again(earlier: Earlier) -> None:
    found = reused(rows_of(chain(ToldModel(), law(), earlier=replace(earlier, questions={}).open())))
    assert found == {"respond": 12, "compare": 0}
