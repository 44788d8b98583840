"""Fine-tuning on a tiny model: what is learnt, what is left out, and how a stopped training goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.backends.chat import open_chat
from engine.storage import Folder
from trainers import fine_tuning
from trainers.fine_tuning import FineTuningSettings
from trainers.fitting import METRICS, last_checkpoint
from trainers.launch import Prepared, launch

# TRL and transformers warn of their own deprecations while they train.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def write_rows(file: Path, count: int, answer: str = "Turn it over and find the hole.") -> list[dict[str, str]]:
    rows = [{"prompt": f"How do I mend number {n}?", "completion": f"{answer} {n}"} for n in range(count)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [{"path": str(file)}]


def settings(model: Path, **given: Any) -> FineTuningSettings:
    how = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 4}
    told: dict[str, Any] = {"name": "tried", "model": str(model), "max_length": 256, "optimization": how}
    return FineTuningSettings.model_validate(told | given)


def prepared(told: FineTuningSettings, folder: Path) -> Prepared:
    fine_tuning.check(told)
    return fine_tuning.prepare(told, Folder(str(folder)), print)


def learnt(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Folder(str(folder)).read_table(fine_tuning.TRAIN).to_pylist()
    return rows


def losses(folder: Path) -> Mapping[int, float]:
    entries = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}


def test_the_answer_is_learnt_and_the_template_applied_once(tiny_model: Path, tmp_path: Path) -> None:
    told = settings(tiny_model, demonstrations=write_rows(tmp_path / "rows.jsonl", 3, "Say <|user|> twice."))
    prepared(told, tmp_path)
    chat = open_chat(told.spec)
    for row in learnt(tmp_path):
        ids, labels = row["input_ids"], row["labels"]
        assert ids[: labels.count(-100)] == chat.encode(row["prompt"]), "the prompt is what the engine sends"
        assert ids.count(chat.tokenizer.bos_token_id) == 1
        answer = [token for token in labels if token != -100]
        assert chat.tokenizer.decode(answer).startswith(row["completion"][0]["content"])
        assert chat.tokenizer.eos_token_id in answer, "it learns to stop"
        (user,) = chat.backend.encode("<|user|>", add_special_tokens=False).ids
        assert user not in answer, "a control token in a text stays text"


def test_rows_that_are_too_long_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 4) + write_rows(tmp_path / "long.jsonl", 3, "again " * 300)
    found = prepared(settings(tiny_model, demonstrations=rows), tmp_path)
    assert found.rows == {"demonstrations": 4}
    assert found.left_out == {"longer than 256 tokens": 3}


def test_helpful_rows_are_mixed_in_the_stated_ratio(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 8)
    helpful = {"answers": write_rows(tmp_path / "helpful.jsonl", 20, "Gladly."), "ratio": 0.5}
    found = prepared(settings(tiny_model, demonstrations=rows, helpful=helpful), tmp_path)
    assert found.rows == {"demonstrations": 8, "helpful": 4}
    assert found.left_out["over the ratio (helpful)"] == 16


def test_a_stopped_training_goes_on_to_the_same_losses(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 48)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    told = settings(tiny_model, demonstrations=rows, checkpoints={"every": 2})
    for folder in (whole, stopped):
        prepared(told, folder)
    launch("trainers.fine_tuning", told, whole)
    short = told.model_copy(update={"optimization": told.optimization.model_copy(update={"max_steps": 3})})
    launch("trainers.fine_tuning", short, stopped)
    (stopped / "outcome.json").unlink()
    checkpoint = last_checkpoint(stopped)
    assert checkpoint is not None
    (checkpoint / "COMPLETE").unlink()  # as if it had been killed while it wrote this one
    assert last_checkpoint(stopped) == stopped / "checkpoints" / "checkpoint-2"
    outcome = launch("trainers.fine_tuning", told, stopped)
    assert outcome.steps == 6
    assert losses(stopped) == pytest.approx(losses(whole), abs=1e-6)
