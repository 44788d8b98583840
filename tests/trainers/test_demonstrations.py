"""Which answers of a run and of a file are learnt."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from constitution.faults import BadInput
from engine.inputs import PromptSource
from engine.model import Sampling
from engine.records import RevisedRow
from engine.storage import Folder, StageStore
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel, prompts, revise_chain
from trainers.demonstrations import answers_of, demonstrations, revised_rows, revisions, shared_length


def rewriting(messages: Sequence[Message], sampling: Sampling) -> str:
    """A critic that always finds fault, and a reviser whose texts tell how often they were revised."""
    asked = messages[-1]["content"]
    if "Find what is wrong" in asked:
        return "It is rude."
    return f"v{sum('Mend it' in message['content'] for message in messages)} {sampling.seed}"


@pytest.fixture
def row() -> RevisedRow:
    """A row of three rounds; the second one changed nothing."""
    (made,) = asyncio.run(revise_chain(ToldModel(say=rewriting), rounds=3).run(prompts(1)[0]))
    first, second, third = made.revisions
    return replace(made, revisions=(first, replace(second, text=first.text, changed=False), third))


def test_the_revisions_that_are_learnt(row: RevisedRow) -> None:
    texts = {
        which: [(number, text) for number, text, _ in answers_of(row, which, up_to)]  # type: ignore[arg-type]
        for which, up_to in (("final", None), ("all", None), ("up_to_n", 2))
    }
    first, third = (1, row.revisions[0].text), (3, row.revisions[2].text)
    assert texts == {"final": [(3, row.final)], "all": [first, third], "up_to_n": [first]}


def test_flagged_revisions_are_counted(row: RevisedRow, tmp_path: Path) -> None:
    store = StageStore(Folder(str(tmp_path)), "02_revise", RevisedRow)
    cut = replace(row.revisions[0], text="Critique: mine", call=replace(row.revisions[0].call, finish_reason="length"))  # type: ignore[type-var]
    store.write_part("0" * 16, 0, [replace(row, revisions=(cut, *row.revisions[2:]))], ())
    store.seal()
    left_out: Counter[str] = Counter()
    kept = list(revisions(store, "all", None, ("truncated", "template_leak"), left_out))
    assert [each.completion for each in kept] == [row.revisions[2].text]
    assert left_out == {"truncated": 1}


def test_a_run_that_cannot_be_learnt_from_is_named(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    with pytest.raises(BadInput, match="this is no run folder"):
        revised_rows(folder.location, "revisions.run")
    folder.write_json("manifest.json", {})
    with pytest.raises(BadInput, match="the run did not revise"):
        revised_rows(folder.location, "revisions.run")
    folder.write("stages/02_revise/_unsealed/x", b"")
    with pytest.raises(BadInput, match="the run is not finished"):
        revised_rows(folder.location, "revisions.run")


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "How?", "completion": "So."},
        {"prompt": "How?", "response": " So.\n"},
        {"instruction": "How?", "output": "So."},
        {"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]},
        {"prompt": [{"role": "user", "content": "How?"}], "completion": [{"role": "assistant", "content": "So."}]},
        {"chosen": "\n\nHuman: How?\n\nAssistant: So.", "rejected": "\n\nHuman: How?\n\nAssistant: No."},
    ],
)
def test_answers_are_found_in_every_form(values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(values))
    (found,) = demonstrations([PromptSource(path=str(file))], "demonstrations")
    assert (found.prompt[-1]["content"], found.completion) == ("How?", "So.")


def test_what_two_sequences_begin_with() -> None:
    assert [shared_length([1, 2, 3], other) for other in ([1, 2, 3, 4], [1, 2], [1, 5, 3], [])] == [3, 2, 1, 0]
