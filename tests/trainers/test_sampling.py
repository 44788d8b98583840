"""Answers of the policy itself: which ones are learnt, and what they were asked under."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from constitution.faults import BadInput
from engine.backends.spec import ModelSpec
from engine.model import Sampling
from engine.records import from_row
from engine.storage import Folder
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel
from tests.trainers.rows_for_training import settings
from trainers import fine_tuning
from trainers.context_distillation import better_than_original
from trainers.demonstrations import TrainingRow, read_rows
from trainers.launch import Prepared
from trainers.rejection_sampling import Candidate, best_of, check_earlier
from trainers.sampling import ScoredRow


def write_prompts(file: Path, count: int) -> list[dict[str, str]]:
    rows = [{"prompt": f"Tell me {n}.", "category": ("illicit", "odd")[n % 2]} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [{"path": str(file)}]


def learnt(folder: Path) -> list[TrainingRow]:
    return [from_row(TrainingRow, row) for row in read_rows(Folder(str(folder))).to_pylist()]


def made(policy: Path, folder: Path, **given: Any) -> Prepared:
    told = settings(policy, **given)
    fine_tuning.check(told)
    return fine_tuning.prepare(told, Folder(str(folder)), print)


@pytest.mark.parametrize(
    ("original", "guided", "expected"),
    [
        (0.5, (0.1, 0.9, 0.7), 1),
        (0.9, (0.1, 0.9), "not better than the original answer"),
        (0.5, (None, 0.6), 1),
        (None, (0.6,), "an answer has no score"),
        (0.5, (), "no preprompt for its category"),
    ],
)
def test_a_guided_answer_is_learnt_where_it_is_better(original: Any, guided: Any, expected: Any) -> None:
    assert better_than_original(ScoredRow("a", 0, (original,), guided)) == expected


def test_the_best_different_answers_of_each_prompt_are_learnt() -> None:
    given = [("a", "x", 1.0), ("b", "y", 5.0), ("a", "z", 2.0), ("a", "z", 2.0), ("a", "w", 0.0)]
    candidates = [Candidate(item, "", (), text, score) for item, text, score in given]
    assert [each.text for each in best_of(candidates, 1)] == ["z", "y"]
    assert [each.text for each in best_of(candidates, 2)] == ["z", "x", "y"]


class Lengths:
    """Stands for a preference model that likes long answers; a marked one does not fit its window."""

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        texts = [conversation[-1]["content"] for conversation in conversations]
        return [None if "unfit" in text else float(len(text)) for text in texts]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> ToldModel:
    """The policy, whose answers the test sets; and a preference model that likes long ones."""
    model = ToldModel()

    async def open_told(spec: ModelSpec) -> ToldModel:
        return model

    monkeypatch.setattr("engine.plan.open_model", open_told)
    for module in ("context_distillation", "rejection_sampling"):
        monkeypatch.setattr(f"trainers.{module}.open_scorer", lambda folder, where: Lengths())
    return model


def test_distilled_answers_are_asked_under_a_preprompt_and_learnt_without_it(
    told: ToldModel, tiny_model: Path, tiny_preference_model: Path, tmp_path: Path
) -> None:
    def say(messages: Sequence[Message], sampling: Sampling) -> str:
        asked = messages[-1]["content"]
        if messages[0]["role"] != "system":
            return f"plain {asked}"
        assert messages[0]["content"] == "Mind the law."
        return f"guided {asked}" if asked != "Tell me 4." else "no"

    told.say = say
    preprompts = tmp_path / "preprompts"
    preprompts.mkdir()
    (preprompts / "illicit.jinja").write_text("{{ system }}Mind the law.")
    section = {
        "prompts": write_prompts(tmp_path / "prompts.jsonl", 6),
        "preprompts": str(preprompts),
        "scorer": str(tiny_preference_model),
        "samples": 2,
    }
    found = made(tiny_model, tmp_path, distillation=section)
    assert found.rows == {"distilled": 2}
    assert found.left_out == {"no preprompt for its category": 3, "not better than the original answer": 1}
    for row, asked in zip(learnt(tmp_path), ("Tell me 0.", "Tell me 2."), strict=True):
        assert row.prompt == ({"role": "user", "content": asked},), "the preprompt is not learnt"
        assert row.completion[0]["content"] == f"guided {asked}"


def test_earlier_answers_compete_with_new_ones(
    told: ToldModel, tiny_model: Path, tiny_preference_model: Path, tmp_path: Path
) -> None:
    words = {"Tell me 0.": "a longer answer", "Tell me 1.": "short"}
    told.say = lambda messages, sampling: words[messages[-1]["content"]]
    section = {
        "prompts": write_prompts(tmp_path / "prompts.jsonl", 2),
        "scorer": str(tiny_preference_model),
        "samples": 2,
    }
    made(tiny_model, tmp_path / "first", rejection_sampling=section)
    words |= {"Tell me 0.": "brief", "Tell me 1.": "this one is better"}
    later = section | {"earlier": [str(tmp_path / "first")]}
    found = made(tiny_model, tmp_path / "second", rejection_sampling=later)
    assert {row.completion[0]["content"] for row in learnt(tmp_path / "second")} == {
        "a longer answer",
        "this one is better",
    }
    assert found.left_out["not the best of its prompt"] == 4


def test_what_chose_no_answers_is_no_earlier_iteration(tmp_path: Path) -> None:
    for name, rows in (("pairs", {"pair_id": ["a"]}), ("demonstrated", {"kind": ["demonstrations"]})):
        folder = Folder(str(tmp_path / name))
        folder.write_table("data/train/part-00000.parquet", pa.table(rows))
        with pytest.raises(BadInput, match="it learnt no answers that were chosen among several"):
            check_earlier([folder.location])


def test_helpful_rows_are_the_models_own_answers(told: ToldModel, tiny_model: Path, tmp_path: Path) -> None:
    sampled = {"prompts": write_prompts(tmp_path / "prompts.jsonl", 3), "samples": 2}
    found = made(tiny_model, tmp_path, helpful={"sampled": sampled})
    assert found.rows == {"helpful": 6}
    asked = len(told.asked)
    made(tiny_model, tmp_path, helpful={"sampled": sampled})
    assert len(told.asked) == asked, "answers that are there are not asked for again"
