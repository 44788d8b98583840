"""Rows and settings of a small training, and what it measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from trainers.fine_tuning import FineTuningSettings
from trainers.fitting import METRICS

# TRL and transformers warn of their own deprecations while they train.
THEIR_WARNINGS = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def write_rows(file: Path, count: int, answer: str = "Turn it over and find the hole.") -> list[dict[str, str]]:
    """Prompts and answers of unlike lengths, as a source."""
    rows = [
        {"prompt": f"How do I mend number {n}?", "completion": f"{answer} {'Glue it. ' * (n % 5)}{n}"}
        for n in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [{"path": str(file)}]


def settings(model: Path, **given: Any) -> FineTuningSettings:
    """Settings for a training of seconds."""
    how = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 4}
    told: dict[str, Any] = {"name": "tried", "model": str(model), "max_length": 256, "optimization": how}
    return FineTuningSettings.model_validate(told | given)


def losses(folder: Path) -> Mapping[int, float]:
    """The loss of each step."""
    return {entry["step"]: entry["loss"] for entry in metrics(folder)}


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What each step measured."""
    entries = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [entry for entry in entries if "loss" in entry]
