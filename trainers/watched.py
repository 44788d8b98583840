"""What a watch over a training leaves behind, as files: read without the libraries that train.

watch.jsonl              an Observation a line: the figures of every step that was looked at
watch/step-000020.jsonl  a Sample a line: the completions behind them
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LINES = "watch.jsonl"
SAMPLES = "watch"


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion of a watched prompt. `reward` is the combined score, not whitened; NaN where there is none."""

    item_id: str
    prompt: str
    completion: str
    tokens: int
    reward: float
    judge: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen at one step, over all watched prompts. `kl` is None where training does not measure it."""

    step: int
    prompts: int
    reward: float
    judge: float
    kl: float | None
    tokens: float
    distinct: float | None
    phrase: str
    phrase_share: float
    alarms: tuple[str, ...] = ()


def read_observations(training: Path) -> list[Observation]:
    """The steps that were looked at, in order; none where nothing was watched."""
    file = training / LINES
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [Observation(**{**values, "alarms": tuple(values["alarms"])}) for values in map(_values, lines)]


def read_samples(training: Path, step: int) -> list[Sample]:
    """The completions of one step."""
    lines = samples_file(training, step).read_text(encoding="utf-8").splitlines()
    return [Sample(**_values(line)) for line in lines]


def samples_file(training: Path, step: int) -> Path:
    """Where the completions of a step are."""
    return training / SAMPLES / f"step-{step:06d}.jsonl"


def write_observations(training: Path, seen: Sequence[Observation]) -> None:
    """Writes `watch.jsonl`."""
    (training / LINES).write_text("".join(map(_line, seen)), encoding="utf-8")


def write_samples(training: Path, step: int, samples: Sequence[Sample]) -> None:
    """Writes the completions of one step."""
    file = samples_file(training, step)
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(map(_line, samples)), encoding="utf-8", errors="replace")


def _line(record: Sample | Observation) -> str:
    """A record as a line of JSON, which knows no NaN."""
    values = {name: None if value != value else value for name, value in asdict(record).items()}
    return json.dumps(values, ensure_ascii=False) + "\n"


def _values(line: str) -> dict[str, Any]:
    """The fields of `_line`'s record."""
    values = json.loads(line)
    return {
        name: math.nan if value is None and name in ("reward", "judge") else value for name, value in values.items()
    }
