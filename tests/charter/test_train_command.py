"""`charter train`: what is refused before anything is written, and what a run folder holds afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.charter.command_line import Called, charter
from tests.engine.tiny_model import tiny_tokenizer
from tests.trainers.rows_for_training import THEIR_WARNINGS, write_rows

pytestmark = THEIR_WARNINGS


def train(folder: Path, *words: str | object, **given: Any) -> Called:
    """`charter train sft` with settings of a file."""
    file = folder / "settings.json"
    file.write_text(json.dumps({"name": "tried", "output": str(folder / "run"), "max_length": 256} | given))
    return charter("train", "sft", file, *words)


def foreign(tiny_model: Path, folder: Path) -> Path:
    """The tiny model with a tokenizer of more words than it knows."""
    shutil.copytree(tiny_model, folder)
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"<extra {n}>" for n in range(9)])
    tokenizer.save_pretrained(folder)
    return folder


def test_bad_input_is_named_and_nothing_is_written(tiny_model: Path, tmp_path: Path) -> None:
    answers = write_rows(tmp_path / "rows.jsonl", 4)
    (tmp_path / "asked.jsonl").write_text('{"prompt": "How?", "note": "x"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    long = [{"path": str(tmp_path / "long.jsonl")}]
    write_rows(tmp_path / "long.jsonl", 2, "again " * 300)
    model = {"model": str(tiny_model)}
    faults: list[tuple[dict[str, Any], str]] = [
        (model, "nothing to learn"),
        (model | {"demonstrations": answers, "learning_rate": 1}, "unknown key"),
        (model | {"demonstrations": [{"path": str(tmp_path / "asked.jsonl")}]}, "the row has no answer among the"),
        (model | {"demonstrations": [{"path": str(tmp_path / "empty.jsonl")}]}, "there are no prompts in it"),
        (model | {"demonstrations": long}, "no row is left to train on: 2 longer than 256 tokens"),
        (model | {"revisions": {"run": str(tmp_path)}}, "this is no run folder"),
        (model | {"revisions": {"run": "x", "up_to": 2}}, "up_to goes with which: up_to_n"),
        (model | {"demonstrations": answers, "launch": {"workers": 3}}, "cannot be shared evenly by 3 workers"),
        (model | {"demonstrations": answers, "report_to": ["mlflow"]}, "not installed: mlflow"),
        ({"model": str(foreign(tiny_model, tmp_path / "m")), "demonstrations": answers}, "it is another model's"),
        (model | {"rejection_sampling": {"prompts": answers, "scorer": str(tiny_model)}}, "a preference model is a"),
    ]
    for given, message in faults:
        called = train(tmp_path, **given)
        assert (called.status, message in called.errors) == (2, True), called.errors
        assert "Traceback" not in called.errors
        assert not list((tmp_path / "run").glob("[!.]*")), "the folder is free for the next try"


def test_a_training_is_told_and_kept_on_record(tiny_model: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "model": str(tiny_model),
        "demonstrations": write_rows(tmp_path / "rows.jsonl", 16),
        "optimization": {"batch_size": 8},
        "report_to": ["tensorboard"],
    }
    called = train(tmp_path, **given)
    assert called.status == 0, called.errors
    run = tmp_path / "run"
    assert "16 demonstrations" in called.errors
    assert list((run / "tensorboard").glob("events.out.*"))
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["kind"], manifest["steps"], manifest["data"]["rows"]) == ("sft", 2, {"demonstrations": 16})
    card = (run / "README.md").read_text()
    assert manifest["data"]["data_hash"] in card
    assert manifest["model"]["revision"] in card
    assert not list((run / "model").glob("*.bin")), "no pickle is left beside the weights"
    # The same folder again: refused without --resume, and with other settings even then; the model stays.
    weights = (run / "model" / "model.safetensors").read_bytes()
    assert "--resume" in train(tmp_path, **given).errors
    other = train(tmp_path, "--resume", **given, seed=5)
    assert (other.status, "seed: 0 -> 5" in other.errors) == (2, True)
    assert train(tmp_path, "--resume", **given).status == 0
    assert (run / "model" / "model.safetensors").read_bytes() == weights
    # An earlier training's folder is a model.
    again = train(tmp_path, "--dry-run", **given | {"model": str(run), "output": str(tmp_path / "next")})
    assert again.status == 0, again.errors
    assert "2 of 8 rows, on 1 worker" in again.output
    assert not (tmp_path / "next").exists()


def test_a_loss_that_is_no_number_stops_the_training(tiny_model: Path, tmp_path: Path) -> None:
    called = train(
        tmp_path,
        model=str(tiny_model),
        demonstrations=write_rows(tmp_path / "rows.jsonl", 32),
        optimization={"batch_size": 4, "learning_rate": 1e30, "max_grad_norm": 1e30},
    )
    assert called.status == 1
    assert "is nan at step" in called.errors
    assert "Traceback" not in called.errors
    assert not (tmp_path / "run" / "model").exists()


def test_a_damaged_checkpoint_is_named(tiny_model: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "model": str(tiny_model),
        "demonstrations": write_rows(tmp_path / "rows.jsonl", 16),
        "optimization": {"batch_size": 4},
        "checkpoints": {"every": 2},
    }
    assert train(tmp_path, **given).status == 0
    run = tmp_path / "run"
    shutil.rmtree(run / "model")
    (run / "outcome.json").unlink()
    weights = run / "checkpoints" / "checkpoint-4" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    called = train(tmp_path, "--resume", **given)
    assert (called.status, "checkpoint-4" in called.errors) == (2, True)
    assert "go on from the one before it" in called.errors
    shutil.rmtree(weights.parent)
    assert train(tmp_path, "--resume", **given).status == 0
