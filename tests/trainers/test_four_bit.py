"""Adapters over weights in 4 bits, on whatever machine this is: every kind of training that has no sampling in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from charter.training import settings_class
from engine.storage import Folder
from tests.trainers.pairs_for_tests import write_pairs_file
from tests.trainers.rows_for_training import THEIR_WARNINGS, losses, write_rows
from trainers.launch import launch, task_of
from trainers.loading import load_weights

pytestmark = THEIR_WARNINGS
TASKS = {"sft": "trainers.fine_tuning", "pm": "trainers.preference_model", "dpo": "trainers.direct_preference"}


@pytest.mark.parametrize("kind", TASKS)
def test_adapters_learn_over_four_bits_and_are_merged_into_the_whole_weights(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    given: dict[str, Any] = {"demonstrations": write_rows(tmp_path / "rows.jsonl", 32)}
    if kind != "sft":
        given = {"data": [{"path": str(write_pairs_file(tmp_path / "pairs.jsonl", 32))}], "held_out": 0}
    how = {"learning_rate": 1e-2, "batch_size": 8, "micro_batch_size": 8, "epochs": 2}
    lora = {"rank": 4, "alpha": 8, "four_bit": True}
    told = settings_class(kind).model_validate(
        {"name": "x", "model": str(tiny_model), "max_length": 128, "lora": lora, "optimization": how, **given}
    )
    held = {type(module).__name__ for module in load_weights(told, AutoModelForCausalLM).modules()}
    assert "Linear4bit" in held
    task, run = task_of(TASKS[kind]), tmp_path / "run"
    task.check(told)
    task.prepare(told, Folder(str(run)), print)
    assert launch(TASKS[kind], told, run).steps == 8
    steps = losses(run)
    assert sum(steps[step] for step in (7, 8)) < 0.9 * sum(steps[step] for step in (1, 2))

    whole, merged = load_file(tiny_model / "model.safetensors"), load_file(run / "model" / "model.safetensors")
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    adapted = {name.removesuffix(".lora_A.weight") for name in adapter if name.endswith(".lora_A.weight")}
    assert len(adapted) >= 7, "every linear layer of a block has one"
    for name in adapted:
        low, high = (adapter[f"{name}.lora_{half}.weight"].float() for half in "AB")
        weight = f"{name.removeprefix('base_model.model.')}.weight"
        assert merged[weight].allclose(whole[weight] + high @ low * 2, atol=1e-5), weight
        assert not merged[weight].allclose(whole[weight], atol=1e-4), weight
