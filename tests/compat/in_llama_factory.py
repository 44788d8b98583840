# ruff: noqa: E402
"""LLaMA-Factory reads our export through dataset_info.json, and its DPO trainer takes a step. Run by check.py."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import peft  # noqa: F401  before the next lines, lest transformers looks for torchaudio

# Only sounds need it, and its builds bring CUDA along.
sys.modules["torchaudio"] = ModuleType("torchaudio")

from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.data.loader import _get_merged_dataset
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from llamafactory.train.tuner import run_exp
from readings import compare, given, told

STAGES = {"preference": "dpo", "reward": "rm", "sft": "sft", "prompts": "ppo", "unpaired": "kto"}


def main() -> None:
    exported, model = given()
    for kind, stage in STAGES.items():
        settings = arguments(exported, model, kind, stage)
        expected = told(exported, kind)
        model_args, data_args, training_args, _, _ = get_train_args(settings)
        stage = {"dpo": "rm"}.get(stage, stage)  # as its DPO workflow asks
        aligned = _get_merged_dataset([f"{kind}_train"], model_args, data_args, training_args, stage)
        compare(kind, len(aligned), len(expected))
        for read, row in zip(aligned, expected, strict=True):
            system = [{"role": "system", "content": read["_system"]}] if read["_system"] else []
            assert [*system, *read["_prompt"]] == row["prompt"], (read, row)
            assert [turn for turn in read["_response"] if turn["content"]] == answers(row), (read, row)
        tokenizer = load_tokenizer(model_args)
        template = get_template_and_fix_tokenizer(tokenizer["tokenizer"], data_args)
        tokenized = get_dataset(template, model_args, data_args, training_args, stage=stage, **tokenizer)
        compare(f"{kind}, tokenized", len(tokenized["train_dataset"]), len(expected))
    run_exp(arguments(exported, model, "preference", "dpo"))
    print("  preference: a step of its DPO trainer")


def answers(row: dict[str, Any]) -> list[dict[str, str]]:
    """What stands after the prompt in LLaMA-Factory's own form."""
    return [turn for side in ("chosen", "rejected", "completion") for turn in row.get(side, [])]


def arguments(exported: Path, model: str, kind: str, stage: str) -> dict[str, Any]:
    """The settings of one training."""
    return {
        "stage": stage,
        "do_train": True,
        "finetuning_type": "full",
        "model_name_or_path": model,
        "dataset_dir": str(exported),
        "dataset": f"{kind}_train",
        "template": "default",
        "cutoff_len": 2048,
        "output_dir": str(exported.parent / "llama-factory.trained"),
        "overwrite_output_dir": True,
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        **({"reward_model": model, "reward_model_type": "full"} if stage == "ppo" else {}),
    }


if __name__ == "__main__":
    main()
