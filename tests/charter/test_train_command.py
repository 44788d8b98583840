"""`charter train`: what is refused before anything is written, and what a run folder holds afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from tests.charter.command_line import Called, charter
from tests.engine.tiny_model import tiny_tokenizer
from tests.trainers.models_for_tests import make_scorer
from tests.trainers.rows_for_training import THEIR_WARNINGS, write_rows

pytestmark = THEIR_WARNINGS


def train(folder: Path, *words: str | object, kind: str = "sft", **given: Any) -> Called:
    """`charter train` with settings of a file."""
    file = folder / "settings.json"
    file.write_text(json.dumps({"name": "tried", "output": str(folder / "run"), "max_length": 256} | given))
    return charter("train", kind, file, *words)


def assert_refused(called: Called, message: str, folder: Path) -> None:
    """One clear message, exit status 2, and a run folder that is free for the next try."""
    assert (called.status, message in called.errors) == (2, True), called.errors
    assert "Traceback" not in called.errors
    assert not list((folder / "run").glob("[!.]*"))


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
        (model | {"demonstrations": answers, "lora": {"modules": ["q_proj", "vproj"]}}, "did you mean 'v_proj'?"),
        ({"model": str(make_scorer(tiny_model, tmp_path / "s")), "demonstrations": answers}, "which writes no text"),
        (model | {"demonstrations": answers, "output": "s3://bucket/run?x=1"}, "what stands after the ? would be lost"),
    ]
    for given, message in faults:
        assert_refused(train(tmp_path, **given), message, tmp_path)


@pytest.mark.parametrize("kind", ["pm", "dpo"])
def test_pairs_that_teach_nothing_are_named(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    pair = {"prompt": "p", "chosen": "a", "rejected": "b"}
    tables: list[tuple[list[dict[str, Any]], str]] = [
        ([{"prompt": "p", "better": "a", "worse": "b"}], "there is no 'chosen' among the columns"),
        ([], "there are no pairs in it"),
        ([pair, pair | {"prompt": "q"}], "all 2 pairs prefer the same answer 'a'"),
        ([pair | {"probability": 0.5}, pair | {"prompt": "q", "probability": 0.5}], "2 pairs is one half"),
        ([pair | {"probability": float("nan")}], "'probability' is nan"),
    ]
    source = tmp_path / "pairs.jsonl"
    model = str(tiny_model)
    for rows, message in tables:
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert_refused(train(tmp_path, kind=kind, model=model, data=[{"path": str(source)}]), message, tmp_path)
    other = str(foreign(tiny_model, tmp_path / "foreign"))
    source.write_text("".join(json.dumps(pair | {"chosen": text}) + "\n" for text in "cd"))
    assert_refused(train(tmp_path, kind=kind, model=other, data=[{"path": str(source)}]), "another model's", tmp_path)


def test_a_reward_that_is_none_is_named(tiny_model: Path, tmp_path: Path) -> None:
    prompts, asked, empty = (tmp_path / f"{name}.jsonl" for name in ("prompts", "asked", "empty"))
    prompts.write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(8)))
    asked.write_text('{"note": "How?"}\n')
    empty.write_text("")
    scorer = make_scorer(tiny_model, tmp_path / "scorer")
    several = shutil.copytree(scorer, tmp_path / "several")
    config = json.loads((several / "config.json").read_text())
    (several / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    strange = shutil.copytree(scorer, tmp_path / "strange")
    foreign(tiny_model, tmp_path / "foreign")
    for file in (tmp_path / "foreign").glob("tokenizer*"):
        shutil.copy(file, strange)

    def rewarded(source: Path, model: Path, policy: Path = tiny_model) -> Called:
        return train(
            tmp_path,
            kind="rl",
            model=str(policy),
            prompts={"all": {"sources": [{"path": str(source)}]}},
            reward={"models": {"main": {"model": str(model)}}},
            sampling={"max_tokens": 4},
        )

    assert_refused(rewarded(asked, scorer), "note", tmp_path)
    assert_refused(rewarded(empty, scorer), "there are no prompts in it", tmp_path)
    assert_refused(rewarded(prompts, several), "it has 3 labels, and a preference model gives one score", tmp_path)
    assert_refused(rewarded(prompts, strange), "reward.models.main: the tokenizer has the id", tmp_path)
    assert_refused(rewarded(prompts, scorer, policy=scorer), "which writes no text", tmp_path)
    few = tmp_path / "few.jsonl"
    few.write_text('{"prompt": "How?"}\n')
    assert_refused(rewarded(few, scorer), "1 prompts are left to train on, and a step takes 8", tmp_path)
    head = load_file(scorer / "model.safetensors")
    save_file(head | {"score.weight": head["score.weight"] * torch.nan}, scorer / "model.safetensors", {"format": "pt"})
    called = rewarded(prompts, scorer)
    assert (called.status, "gives a score that is no number for 1 of 1" in called.errors) == (2, True), called.errors
    assert "Traceback" not in called.errors
    assert not list((tmp_path / "run").glob("model*")), "it is found when the model has scored once"


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
    packed = train(tmp_path, "--dry-run", **given | {"packing": True, "output": str(tmp_path / "next")})
    assert "1 of 8 blocks, on 1 worker" in packed.output
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


def test_a_checkpoint_that_is_damaged_or_another_models_is_named(tiny_model: Path, tmp_path: Path) -> None:
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
    other = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_model, vocab_size=500))
    save_file(other.state_dict(), weights, {"format": "pt"})
    called = train(tmp_path, "--resume", **given)
    assert (called.status, "checkpoint-4" in called.errors) == (2, True)
    assert "it is another model's" in called.errors
    assert not (run / "model").exists()
    shutil.rmtree(weights.parent)
    assert train(tmp_path, "--resume", **given).status == 0
