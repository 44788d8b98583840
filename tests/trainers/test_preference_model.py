"""A preference model from files to a folder with figures, on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from constitution.faults import BadInput
from engine.storage import Folder
from tests.trainers.pairs_for_tests import write_pairs_file
from trainers.fitting import Outcome
from trainers.launch import launch
from trainers.preference_model import PreferenceModelSettings, check, prepare, train
from trainers.scoring import open_scorer

# TRL and transformers warn of their own deprecations while they train.
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def settings(model: Path, data: Path | list[dict[str, Any]], **changes: Any) -> PreferenceModelSettings:
    sources = [{"path": str(data)}] if isinstance(data, Path) else data
    values: dict[str, Any] = {"name": "x", "model": str(model), "data": sources, "max_length": 128, "held_out": 0.1}
    how = {"learning_rate": 3e-3, "batch_size": 8, "micro_batch_size": 8, "epochs": 2, "schedule": "constant"}
    return PreferenceModelSettings(**values | {"optimization": how} | changes)


def trained(chosen: PreferenceModelSettings, folder: Path) -> Outcome:
    prepare(chosen, Folder(str(folder)), print)
    return train(chosen, folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs_file(tmp_path_factory.mktemp("data") / "pairs.jsonl", 96)


@pytest.fixture(scope="module")
def model_folder(tiny_model: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose model has learnt that kind answers are better with a probability of 0.9."""
    folder = tmp_path_factory.mktemp("pm")
    test = write_pairs_file(folder / "test.jsonl", 30, seed=1)
    outcome = trained(settings(tiny_model, pairs, test=[{"path": str(test)}]), folder)
    (folder / "outcome.json").write_text(json.dumps(dict(outcome.figures)))
    return folder


def test_it_learns_which_answer_is_better_and_how_surely(model_folder: Path) -> None:
    figures = json.loads((model_folder / "evaluation.json").read_text())
    test = next(found for name, found in figures.items() if name.startswith("test "))
    assert test["pairs"] == 30
    assert test["accuracy"]["value"] == 1.0
    assert test["accuracy"]["low"] == pytest.approx(0.886, abs=1e-3)
    assert test["calibration_error"] < 0.05, "it says 0.9, not more"
    assert figures["held out"]["pairs"] > 0


def test_its_scores_are_the_same_for_everybody_who_loads_it(model_folder: Path) -> None:
    conversation = [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "kind 7"}]
    scorer = open_scorer(str(model_folder))
    (score,) = scorer.score([conversation])  # type: ignore[list-item]
    model = AutoModelForSequenceClassification.from_pretrained(model_folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(model_folder / "model")
    assert tokenizer.pad_token != tokenizer.eos_token
    ids = tokenizer.apply_chat_template([conversation], return_tensors="pt")["input_ids"]
    padded = torch.nn.functional.pad(ids, (0, 5), value=tokenizer.pad_token_id)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, 5))
    assert model(ids).logits.item() == pytest.approx(score, abs=1e-4)
    assert model(padded, attention_mask=mask).logits.item() == pytest.approx(score, abs=1e-4)


def test_a_soft_label_is_not_taken_for_certain(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    """The loss of a model that says 0.9 is the label's entropy; with hard labels it goes on falling."""
    losses = {}
    for labels in ("soft", "hard"):
        chosen = settings(tiny_model, [{"path": str(pairs), "labels": labels}])
        losses[labels] = trained(chosen, tmp_path / labels).figures["loss_last"]
    assert losses["soft"] == pytest.approx(-0.9 * math.log(0.9) - 0.1 * math.log(0.1), abs=0.05)
    assert losses["hard"] < 0.1


def test_shared_prompts_change_nothing_but_the_time(
    tiny_model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_epoch = {"learning_rate": 1e-3, "batch_size": 8, "epochs": 1, "schedule": "constant"}
    chosen = settings(tiny_model, pairs, optimization=one_epoch, held_out=0)
    shared = trained(chosen, tmp_path / "shared").figures["loss_last"]
    monkeypatch.setattr("trainers.shared_prefix.SAVING", 0.0)
    assert trained(chosen, tmp_path / "plain").figures["loss_last"] == pytest.approx(shared, rel=1e-3)


def test_weights_and_margins_reach_the_loss(tiny_model: Path, tmp_path: Path) -> None:
    row = {"prompt": "p", "rejected": "b", "grade": "significantly better"}
    path = tmp_path / "graded.jsonl"
    path.write_text("".join(json.dumps({**row, "chosen": f"a {n}"}) + "\n" for n in range(8)))
    how = {"learning_rate": 1e-9, "batch_size": 8, "max_steps": 1}
    sources: dict[str, dict[str, Any]] = {"plain": {}, "margins": {"margins": "large"}, "double": {"weight": 2.0}}
    losses = {}
    for name, source in sources.items():
        chosen = settings(tiny_model, [{"path": str(path), **source}], optimization=how, held_out=0)
        losses[name] = trained(chosen, tmp_path / name).figures["loss_last"]
    assert losses["double"] == pytest.approx(2 * losses["plain"], rel=1e-4)
    assert losses["margins"] > losses["plain"] + 1.5


def test_two_ray_workers_learn_what_one_process_learns(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    weights = {}
    for workers in (1, 2):
        how = {"learning_rate": 1e-3, "batch_size": 16, "epochs": 2}  # the last batch of a pass is smaller
        where = {"workers": workers, "cpus": 0.5}
        told = settings(tiny_model, pairs, optimization=how, launch=where)
        folder = tmp_path / str(workers)
        rows = prepare(told, Folder(str(folder)), print).rows
        assert sum(rows.values()) % 16
        outcome = launch("trainers.preference_model", told, folder)
        assert "accuracy, held out" in outcome.figures
        weights[workers] = load_file(folder / "model" / "model.safetensors")
    assert all(weights[1][name].allclose(weights[2][name], atol=1e-5) for name in weights[1])


def test_micro_batches_change_nothing(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    weights = []
    for size in (16, 4):
        how = {"learning_rate": 1e-3, "batch_size": 16, "micro_batch_size": size, "epochs": 1}
        trained(settings(tiny_model, pairs, optimization=how), tmp_path / str(size))
        weights.append(load_file(tmp_path / str(size) / "model" / "model.safetensors"))
    assert all(weights[0][name].allclose(weights[1][name], atol=1e-5) for name in weights[0])


def test_long_pairs_and_tested_prompts_are_counted(tiny_model: Path, tmp_path: Path) -> None:
    data = write_pairs_file(tmp_path / "pairs.jsonl", 10)
    long = {"prompt": "word " * 200, "chosen": "a", "rejected": "b"}
    data.write_text(data.read_text() + json.dumps(long) + "\n")
    test = tmp_path / "test.jsonl"
    test.write_text("".join(data.read_text().splitlines(keepends=True)[:3]))
    prepared = prepare(
        settings(tiny_model, data, held_out=0, test=[{"path": str(test)}]), Folder(str(tmp_path / "run")), print
    )
    assert prepared.rows == {str(data): 7}
    assert prepared.left_out == {"longer than 128 tokens": 1, "with a prompt that is tested on": 3}
    assert prepared.facts["pairs to measure on"] == 3


def test_a_recipe_that_shares_out_some_sources_alone_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="either every source of data has a share, or none has"):
        settings(tiny_model, [{"path": "a", "share": 1}, {"path": "b"}])


def test_bad_input_is_said_before_anything_is_loaded(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    classifier = tmp_path / "classifier"
    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(classifier)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(classifier)
    columns = tmp_path / "columns.jsonl"
    columns.write_text('{"prompt": "p", "better": "a", "worse": "b"}\n')
    for model, data, message in (
        (classifier, pairs, "a classifier with 3 labels"),
        (tiny_model, columns, "there is no 'chosen' among the columns prompt, better, worse"),
        (tiny_model, tmp_path / "nothing.jsonl", "there is no such file"),
    ):
        with pytest.raises(BadInput, match=message):
            check(settings(model, data))
