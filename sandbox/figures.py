"""Shares with intervals, and calibration: how the figures of an evaluation are counted and written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Share:
    """How often something held. `target` is what it is judged against: at least (≥) or at most (≤)."""

    name: str
    target: str = ""
    held: int = 0
    count: int = 0
    examples: list[str] = field(default_factory=list)
    """A few cases that went against the target, for reading."""

    def add(self, holds: bool, example: str = "") -> None:
        """Counts one case."""
        self.held += holds
        self.count += 1
        against = holds if self.target.startswith("≤") else not holds
        if against and example and len(self.examples) < 4:
            self.examples.append(example)

    @property
    def value(self) -> float:
        """The share; not a number where nothing was counted."""
        return self.held / self.count if self.count else math.nan

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927)."""
        return wilson(self.held, self.count)

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        low, high = self.interval()
        return {
            "value": round(self.value, 4) if self.count else None, "low": round(low, 4), "high": round(high, 4),
            "held": self.held, "count": self.count, "target": self.target, "met": self.met, "examples": self.examples,
        }  # fmt: skip

    @property
    def met(self) -> bool | None:
        """Whether the share itself reaches the target; None where there is none."""
        return meets(self.value, self.target)


def meets(value: float, target: str) -> bool | None:
    """Whether a value reaches a target such as "≥ 0.95"; None where there is no target or no value."""
    if not target or math.isnan(value):
        return None
    bound = float(target[1:])
    return value >= bound if target[0] == "≥" else value <= bound


def wilson(held: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share."""
    if count == 0:
        return 0.0, 1.0
    share = held / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_error(predicted: Sequence[float], truth: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error: mean distance of prediction and truth over equal bins, weighted by their counts.

    `truth` may be soft: the oracle's own probability.
    """
    total = 0.0
    for number in range(bins):
        inside = [
            (guess, true)
            for guess, true in zip(predicted, truth, strict=True)
            if min(int(guess * bins), bins - 1) == number
        ]
        total += abs(sum(guess - true for guess, true in inside))
    return total / len(predicted) if predicted else math.nan


class Report:
    """All shares and numbers of one temperature, by name, in the order in which they came up."""

    def __init__(self) -> None:
        self.shares: dict[str, Share] = {}
        self.numbers: dict[str, tuple[float, str]] = {}

    def share(self, name: str, target: str = "") -> Share:
        """The share with this name."""
        return self.shares.setdefault(name, Share(name, target))

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        numbers = {
            name: {
                "value": None if math.isnan(value) else round(value, 4),
                "target": target,
                "met": meets(value, target),
            }
            for name, (value, target) in self.numbers.items()
        }
        return {"shares": {name: share.as_json() for name, share in self.shares.items()}, "numbers": numbers}
