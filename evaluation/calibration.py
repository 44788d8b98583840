"""Do probabilities mean what they say? Reliability bins, and the expected calibration error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.estimates import NOTHING, Estimate, Floats, bootstrap, cluster_numbers, mean, share

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Predictions in [low, high): their mean, and how often what they predict held. None where there are none."""

    low: float
    high: float
    predicted: float | None
    held: Estimate


@dataclass(frozen=True, slots=True)
class Calibration:
    """`error`: the expected calibration error, the mean distance of prediction and truth over the bins, weighted by
    their counts (Naeini et al. 2015). `brier`: the mean squared distance of each prediction from what came to be."""

    error: Estimate
    brier: Estimate
    bins: tuple[ReliabilityBin, ...]


def calibration(
    predicted: Sequence[float],
    held: Sequence[float],
    bins: int = BINS,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Calibration:
    """Calibration of probabilities in [0, 1] over `bins` of equal width; the last one holds 1.

    What held is 0 or 1, or where the truth is soft, its probability. `clusters` says which cases belong together, such
    as the pairs of one prompt; without it each stands for itself.
    """
    if not predicted:
        return Calibration(NOTHING, NOTHING, ())
    guesses, truths = np.asarray(predicted, dtype=np.float64), np.asarray(held, dtype=np.float64)
    places = np.minimum((guesses * bins).astype(np.int64), bins - 1)
    gaps, squares = guesses - truths, (guesses - truths) ** 2

    number = cluster_numbers(range(len(guesses)) if clusters is None else clusters)

    def error(cluster_weights: Floats) -> float:
        weights = cluster_weights[number]
        return float(np.abs(np.bincount(places, weights=weights * gaps, minlength=bins)).sum() / weights.sum())

    def brier(cluster_weights: Floats) -> float:
        weights = cluster_weights[number]
        return float((weights * squares).sum() / weights.sum())

    groups, n = int(number.max()) + 1, len(guesses)
    return Calibration(
        bootstrap(error, groups, n, seed),
        bootstrap(brier, groups, n, seed),
        tuple(_bin(number, bins, guesses[places == number], truths[places == number]) for number in range(bins)),
    )


def _bin(number: int, bins: int, guesses: Floats, truths: Floats) -> ReliabilityBin:
    predicted = float(guesses.mean()) if len(guesses) else None
    certain = bool(np.all((truths == 0) | (truths == 1)))
    held = share(int(truths.sum()), len(truths)) if certain else mean(truths.tolist())
    return ReliabilityBin(number / bins, (number + 1) / bins, predicted, held)
