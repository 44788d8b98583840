"""Fine-tuning on a tiny model: what is learnt, what is left out, and how a stopped training goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.backends.chat import open_chat
from engine.storage import Folder
from tests.trainers.rows_for_training import THEIR_WARNINGS, losses, settings, write_rows
from trainers import fine_tuning
from trainers.demonstrations import read_rows
from trainers.fine_tuning import FineTuningSettings
from trainers.fitting import last_checkpoint
from trainers.launch import Prepared, launch

pytestmark = THEIR_WARNINGS


def prepared(told: FineTuningSettings, folder: Path) -> Prepared:
    fine_tuning.check(told)
    return fine_tuning.prepare(told, Folder(str(folder)), print)


def learnt(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_rows(Folder(str(folder))).to_pylist()
    return rows


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
    assert found.left_out["over the ratio (helpful rows)"] == 16


def test_what_is_drawn_for_the_ratio_does_not_depend_on_the_folder(tiny_model: Path, tmp_path: Path) -> None:
    drawn = []
    for place in ("one", "another"):
        folder = tmp_path / place
        folder.mkdir()
        rows = write_rows(folder / "rows.jsonl", 8)
        helpful = {"answers": write_rows(folder / "helpful.jsonl", 20, "Gladly."), "ratio": 0.5}
        prepared(settings(tiny_model, demonstrations=rows, helpful=helpful), folder)
        drawn.append([row["item_id"] for row in learnt(folder)])
    assert drawn[0] == drawn[1]


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


def test_packed_rows_do_not_see_each_other(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", 8)
    for name, packing in (("packed", True), ("padded", False)):
        told = settings(tiny_model, demonstrations=rows, packing=packing, optimization={"max_steps": 1})
        found = prepared(told, tmp_path / name)
        assert found.tokens < 4 * 256, "several rows fill a block"
        launch("trainers.fine_tuning", told, tmp_path / name)
    assert losses(tmp_path / "packed") == pytest.approx(losses(tmp_path / "padded"), abs=1e-4)


def test_adapters_are_merged_into_the_model(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    told = settings(tiny_model, demonstrations=write_rows(tmp_path / "rows.jsonl", 16), lora={"rank": 4})
    prepared(told, tmp_path)
    launch("trainers.fine_tuning", told, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.tensor([[5, 17, 40, 3]])
    before = plain(ids).logits
    adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter")(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(ids).logits
    assert merged.allclose(adapted, atol=1e-4)
    assert not merged.allclose(before, atol=1e-2)
