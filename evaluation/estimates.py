"""Figures with what they rest on: how many, and between which bounds."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest

LEVEL = 0.95
"""Of every interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its 95 % interval and the number of cases behind it. All None where there are no cases."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "no cases"
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, n = {self.n:,})"


def share(held: int, n: int) -> Estimate:
    """A share of independent cases, with the interval of Wilson (1927)."""
    if n == 0:
        return Estimate(None, None, None, 0)
    interval = binomtest(held, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(held / n, float(interval.low), float(interval.high), n)
