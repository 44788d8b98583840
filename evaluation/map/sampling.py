"""Which pairs are on the map: every flagged one, and of the others as many as there is room for."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from engine.pairs import Pair
from engine.records import derived_seed


@dataclass(frozen=True, slots=True)
class Sample:
    """Pairs in the order of the data. `read` is how many there were, `flagged` how many of them have a flag."""

    pairs: tuple[Pair, ...]
    read: int
    flagged: int

    @property
    def is_whole(self) -> bool:
        """Whether no pair was left out."""
        return len(self.pairs) == self.read

    def sentence(self) -> str:
        """What is on the map, for people."""
        if self.is_whole:
            return f"all {self.read:,} pairs, {self.flagged:,} of them flagged"
        others = f"{len(self.pairs) - self.flagged:,} of the {self.read - self.flagged:,} others, drawn at random"
        return f"{len(self.pairs):,} of {self.read:,} pairs: all {self.flagged:,} flagged ones, and {others}"


def take_sample(pairs: Iterable[Pair], flags: Mapping[str, Collection[str]], most: int, seed: int) -> Sample:
    """All flagged pairs, and others up to `most` pairs in all. `flags` has the flags of a pair by its id.

    Which others depends on the seed and their ids alone, not on their order. Memory holds the flagged pairs and
    `most` others, however many there are. Where the flagged ones alone are more than `most`, all of them are taken.
    """
    flagged: list[tuple[int, Pair]] = []
    others: list[tuple[int, int, Pair]] = []  # a heap with the largest number drawn on top
    read = 0
    for read, pair in enumerate(pairs, start=1):
        if flags.get(pair.pair_id):
            flagged.append((read, pair))
            continue
        drawn = (-derived_seed(seed, pair.pair_id), -read, pair)
        if len(others) < most:
            heapq.heappush(others, drawn)
        else:
            heapq.heappushpop(others, drawn)
    room = max(0, most - len(flagged))
    kept = heapq.nlargest(room, others)
    ordered = sorted([*flagged, *((-place, pair) for _, place, pair in kept)], key=lambda item: item[0])
    return Sample(tuple(pair for _, pair in ordered), read, len(flagged))
