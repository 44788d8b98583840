"""How good a preference model is on pairs it has not seen: accuracy, calibration, and what it leans on.

Every figure names how many pairs it rests on. Arrays have one entry a pair: `difference` is the reward of the chosen
answer minus that of the other, `probability` the label, P(chosen is better), at least one half.
"""

# ruff: noqa: N803
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

BINS = 10
"""Of equal width between one half and one."""


@dataclass(frozen=True, slots=True)
class Share:
    """How often something held, with its 95 % interval (Wilson 1927). A tie counts half."""

    value: float
    low: float
    high: float
    count: int


def share(held: float, count: int) -> Share | None:
    """The share, or None where nothing was counted."""
    from scipy.stats import binomtest

    if not count:
        return None
    interval = binomtest(int(held), count).proportion_ci(0.95, method="wilson")
    return Share(held / count, float(interval.low), float(interval.high), count)


def accuracy(difference: Numbers, probability: Numbers) -> Share | None:
    """How often the preferred answer has the higher reward. Pairs with a label of one half have no preferred one."""
    decided = difference[probability > 0.5]
    return share(float((decided > 0).sum() + (decided == 0).sum() / 2), len(decided))


def longer_preferred(longer_by: Numbers, probability: Numbers) -> Share | None:
    """The accuracy of always preferring the longer answer. `longer_by` is the chosen answer's length minus the
    other's."""
    return accuracy(longer_by, probability)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs whose predicted preference has about the same confidence: the mean of what was predicted and of how often
    it held."""

    predicted: float
    held: float
    count: int


def surer(difference: Numbers, probability: Numbers) -> tuple[Numbers, Numbers]:
    """For the answer that the model prefers: how sure it is, from 0.5 to 1, and the label's probability."""
    return 1 / (1 + np.exp(-np.abs(difference))), np.where(difference >= 0, probability, 1 - probability)


def reliability(difference: Numbers, probability: Numbers) -> list[ReliabilityBin]:
    """Predicted confidence against the labels, for the answer that the model prefers, from 0.5 to 1. Empty bins are
    left out."""
    predicted, held = surer(difference, probability)
    places = np.minimum(((predicted - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = [places == place for place in range(BINS)]
    return [
        ReliabilityBin(float(predicted[inside].mean()), float(held[inside].mean()), int(inside.sum()))
        for inside in bins
        if inside.any()
    ]


def calibration_error(difference: Numbers, probability: Numbers) -> float | None:
    """The expected calibration error: the distance of prediction and label over `reliability`'s bins, weighted by
    their counts (Guo et al. 2017, equation 3). None without pairs."""
    bins = reliability(difference, probability)
    count = sum(each.count for each in bins)
    return sum(abs(each.predicted - each.held) * each.count for each in bins) / count if count else None


def length_correlation(difference: Numbers, longer_by: Numbers) -> float | None:
    """Spearman's rank correlation of reward and length differences. None where either does not vary."""
    from scipy.stats import spearmanr

    if len(difference) < 3 or not np.ptp(difference) or not np.ptp(longer_by):
        return None
    return float(spearmanr(difference, longer_by).statistic)


def preference_figures(
    rewards_2_N: Numbers, probability: Numbers, longer_by: Numbers, bins: Sequence[str]
) -> dict[str, Any]:
    """All figures of one set of held-out pairs, ready for JSON. `bins` names what propositions said of each pair."""
    difference = rewards_2_N[0] - rewards_2_N[1]
    names = np.array(bins, dtype=object)
    return {
        "pairs": len(difference),
        "accuracy": _plain(accuracy(difference, probability)),
        "accuracy_by_bin": {
            name: _plain(accuracy(difference[names == name], probability[names == name])) for name in sorted(set(bins))
        },
        "longer_preferred": _plain(longer_preferred(longer_by, probability)),
        "calibration_error": _rounded(calibration_error(difference, probability)),
        "reliability": [_plain(each) for each in reliability(difference, probability)],
        "length_correlation": _rounded(length_correlation(difference, longer_by)),
        "reward_mean": _rounded(float(rewards_2_N.mean()) if rewards_2_N.size else None),
        "reward_spread": _rounded(float(rewards_2_N.std()) if rewards_2_N.size else None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _plain(record: Share | ReliabilityBin | None) -> dict[str, float] | None:
    if record is None:
        return None
    return {name: round(getattr(record, name), 4) for name in type(record).__slots__}
