"""Direct preference optimisation: TRL's where labels are certain, and towards the label where they are not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from constitution.faults import BadInput
from engine.storage import Folder
from tests.trainers.models_for_tests import make_scorer
from tests.trainers.pairs_for_tests import write_pairs_file
from tests.trainers.rows_for_training import THEIR_WARNINGS, losses
from trainers.direct_preference import DirectPreferenceSettings, check, prepare, train
from trainers.fitting import Outcome, training_arguments
from trainers.loading import load_tokenizer

pytestmark = THEIR_WARNINGS


def settings(model: Path, data: Path, **changes: Any) -> DirectPreferenceSettings:
    how = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 8, "max_steps": 4}
    told = {"name": "x", "model": str(model), "data": [{"path": str(data)}], "optimization": how, "held_out": 0}
    return DirectPreferenceSettings.model_validate(told | changes)


def trained(told: DirectPreferenceSettings, folder: Path) -> Outcome:
    prepare(told, Folder(str(folder)), print)
    return train(told, folder)


def test_with_certain_labels_it_is_dpo(tiny_model: Path, tmp_path: Path) -> None:
    data = write_pairs_file(tmp_path / "pairs.jsonl", 32, probability=None)
    how = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 4, "max_steps": 4}
    told = settings(tiny_model, data, optimization=how)
    trained(told, tmp_path / "ours")

    def conversation(row: dict[str, Any]) -> dict[str, Any]:
        roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        return {name: [{"role": role, "content": row[name]}] for name, role in roles.items()}

    theirs = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        args=DPOConfig(**training_arguments(told, tmp_path / "theirs"), beta=told.beta, max_length=None),
        train_dataset=load_dataset("json", data_files=str(data), split="train").map(conversation),
        processing_class=load_tokenizer(told),
    )
    theirs.train()
    expected = [entry["loss"] for entry in theirs.state.log_history if "loss" in entry]
    found = losses(tmp_path / "ours")
    assert found[1] == pytest.approx(math.log(2), abs=1e-5), "policy and reference agree before the first step"
    assert list(found.values()) == pytest.approx(expected, abs=1e-4)
    tokens = [entry["num_tokens"] for entry in theirs.state.log_history if "loss" in entry]
    lines = [json.loads(line) for line in (tmp_path / "ours" / "metrics.jsonl").read_text().splitlines()]
    assert [line["num_tokens"] for line in lines if "loss" in line] == tokens


def test_an_unsure_label_is_learnt_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    data = write_pairs_file(tmp_path / "pairs.jsonl", 96, probability=0.8)
    test = write_pairs_file(tmp_path / "test.jsonl", 24, seed=1, probability=0.8)
    how = {"learning_rate": 2e-3, "batch_size": 16, "micro_batch_size": 16, "epochs": 6}
    outcome = trained(settings(tiny_model, data, optimization=how, test=[{"path": str(test)}]), tmp_path / "run")
    assert outcome.figures["loss_last"] == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2), abs=0.03)
    (figures,) = json.loads((tmp_path / "run" / "evaluation.json").read_text()).values()
    assert figures["accuracy"]["value"] > 0.9
    assert figures["calibration_error"] < 0.1


def test_a_preference_model_is_no_policy(tiny_model: Path, tmp_path: Path) -> None:
    scorer = make_scorer(tiny_model, tmp_path / "scorer")
    data = write_pairs_file(tmp_path / "pairs.jsonl", 4)
    with pytest.raises(BadInput, match="writes no text"):
        check(settings(scorer, data))
