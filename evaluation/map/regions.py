"""Regions of the map and their names: the words that set a region's pairs apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from evaluation.map.layout import Positions
from evaluation.map.vectors import words_in

MOST_REGIONS = 40
WORDS_IN_A_NAME = 3
NAMELESS = "(no common words)"


@dataclass(frozen=True, slots=True)
class Regions:
    """`of` says which region each pair is in. Names and centres are those of the regions, the largest first."""

    of: npt.NDArray[np.int64]
    names: tuple[str, ...]
    centres: Positions


def find_regions(positions: Positions, texts: Sequence[str], seed: int) -> Regions:
    """Neighbouring points in groups, by k-means over the places, about √pairs / 2 of them."""
    count = min(MOST_REGIONS, max(1, round(np.sqrt(len(positions)) / 2)))
    count = min(count, len(np.unique(positions, axis=0)))
    with threadpool_limits(limits=1):
        found = KMeans(count, n_init=4, random_state=seed).fit_predict(positions)
    by_size = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[by_size] = np.arange(count)
    of = place[found]
    centres = np.array([np.median(positions[of == region], axis=0) for region in range(count)])
    return Regions(of, tuple(name_regions(of, count, texts)), centres)


def name_regions(of: npt.NDArray[np.int64], count: int, texts: Sequence[str]) -> list[str]:
    """For each region the words with the largest p · log²(p / q), where p > q: p is the share of its texts that hold
    the word, q that of all texts. Class-based TF-IDF (Grootendorst 2022) weighs likewise, by how often words occur;
    shares of texts keep one long text from naming a region, and the square prefers telling words to frequent ones."""
    held, words = words_in(texts)
    if held is None:
        return [NAMELESS] * count
    everywhere = np.asarray(held.mean(axis=0)).ravel()
    names = []
    for region in range(count):
        here = np.asarray(held[of == region].mean(axis=0)).ravel()
        lift = np.maximum(np.log(np.maximum(here, 1e-12) / everywhere), 0)
        apart = here * lift**1.5
        best = np.argsort(-apart, kind="stable")[: 5 * WORDS_IN_A_NAME]
        told = _distinct([str(words[word]) for word in best if apart[word] > 0])
        names.append(", ".join(told) or NAMELESS)
    return names


def _distinct(words: Sequence[str]) -> list[str]:
    """The first few words, without a second form of the same (drug and drugs, make and making)."""
    told: list[str] = []
    for word in words:
        if not any(_same_stem(word, other) for other in told):
            told.append(word)
    return told[:WORDS_IN_A_NAME]


def _same_stem(word: str, other: str) -> bool:
    stem = max(3, min(len(word), len(other)) - 1)
    return word[:stem] == other[:stem]
