"""Texts that say nearly the same: the Jaccard similarity of their sets of word triples reaches a threshold.

    text ──► sketch (MinHash, rensa) ──► bands ──► texts that share one are candidates ──► exact similarity ──► groups

Texts, sketches and bands are kept by the database that is given (engine/duplicates.py has one on disk). Memory holds a
few numbers a text, and those only while groups are formed.
"""

from __future__ import annotations

import re
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rensa import RMinHash

Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]
Sketch = np.ndarray[tuple[int], np.dtype[np.uint32]]

# A pair of similarity 0.8 shares none of 32 bands of 4 values with probability (1 − 0.8⁴)³² = 5e-8.
PERMUTATIONS, BANDS, SEED = 128, 32, 42
# The sketch's estimate of similarity s has a standard deviation of √(s(1 − s)/128), 0.044 at most: five of them.
ESTIMATE_SLACK = 0.22
# Of the texts that share a band, each is looked at beside so many before it, those first that share the next band too.
NEIGHBOURS = 64
# Candidates of one text that are compared exactly, the likeliest first, each of another group.
CANDIDATES_COMPARED = 16

# Scripts written without spaces (Thai to Khmer, Japanese, Chinese, Korean) count by character.
WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


def shingles(text: str) -> set[str]:
    """The set of a text's word triples, without case and punctuation. Never empty."""
    words = WORD.findall(text.casefold())
    if len(words) < 3:
        return {" ".join(words) or text}
    return {" ".join(triple) for triple in zip(words, words[1:], words[2:], strict=False)}


def similarity(one: set[str], other: set[str]) -> float:
    """The Jaccard similarity, in [0, 1]."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


@dataclass(frozen=True, slots=True)
class AlikeTexts:
    """Two and more texts by number, ascending. `similarity` is the least that links one of them to the others."""

    members: tuple[int, ...]
    similarity: float


class NearIndex:
    """Texts by number, from 0 in the order they were added, in tables of a database."""

    def __init__(self, database: sqlite3.Connection, threshold: float) -> None:
        self._database = database
        self._threshold = threshold
        self._count = self._batches = 0
        database.execute("CREATE TABLE texts (number INTEGER PRIMARY KEY, text BLOB, sketch BLOB)")
        database.execute("CREATE TABLE bands (band INTEGER, batch INTEGER, hashes BLOB, PRIMARY KEY (band, batch))")

    def add(self, texts: Sequence[str]) -> None:
        """Takes the next texts. A few hundred at a time are fastest."""
        if not texts:
            return
        digests = RMinHash.digests_from_token_sets([shingles(text) for text in texts], PERMUTATIONS, SEED)
        sketches = np.array(digests, dtype=np.uint32)
        numbered = enumerate(zip(texts, sketches, strict=True), start=self._count)
        self._database.executemany(
            "INSERT INTO texts VALUES (?, ?, ?)",
            ((number, text.encode("utf-8", "surrogatepass"), sketch.tobytes()) for number, (text, sketch) in numbered),
        )
        self._database.executemany(
            "INSERT INTO bands VALUES (?, ?, ?)",
            ((band, self._batches, hashes.tobytes()) for band, hashes in enumerate(_hashes(sketches))),
        )
        self._count += len(texts)
        self._batches += 1

    def groups(self) -> list[AlikeTexts]:
        """The groups among the texts so far, in the order of their first members."""
        groups = _Groups(self._count)
        spent = np.zeros(self._count, dtype=np.int64)
        following = self._band(0)
        for band in range(BANDS):
            hashes, following = following, self._band((band + 1) % BANDS)
            for run in _runs(hashes, following):
                if groups.are_several(run):
                    self._link(run, groups, spent)
        return list(groups.found())

    def _link(self, run: Numbers, groups: _Groups, spent: Numbers) -> None:
        """Joins the groups of those texts of a run that are near. `spent` counts what each was compared with."""
        before: deque[tuple[int, Sketch]] = deque(maxlen=NEIGHBOURS)
        for number in run.tolist():
            sketch = self._sketch(number)
            for other in self._likely(sketch, before):
                if spent[number] == CANDIDATES_COMPARED:
                    break
                if groups.of(other) == groups.of(number):
                    continue
                spent[number] += 1
                value = similarity(self._shingles(number), self._shingles(other))
                if value >= self._threshold:
                    groups.join(number, other, value)
            before.append((number, sketch))

    def _likely(self, sketch: Sketch, before: Sequence[tuple[int, Sketch]]) -> list[int]:
        """Texts of those that may be near, the likeliest first."""
        if not before:
            return []
        estimates = (np.stack([other for _, other in before]) == sketch).mean(axis=1)
        order = np.argsort(-estimates, kind="stable")
        return [before[place][0] for place in order if estimates[place] >= self._threshold - ESTIMATE_SLACK]

    def _shingles(self, number: int) -> set[str]:
        (found,) = self._database.execute("SELECT text FROM texts WHERE number = ?", (number,)).fetchone()
        return shingles(found.decode("utf-8", "surrogatepass"))

    def _sketch(self, number: int) -> Sketch:
        (found,) = self._database.execute("SELECT sketch FROM texts WHERE number = ?", (number,)).fetchone()
        return np.frombuffer(found, dtype=np.uint32)

    def _band(self, band: int) -> Numbers:
        """One band's hashes of all texts."""
        rows = self._database.execute("SELECT hashes FROM bands WHERE band = ? ORDER BY batch", (band,))
        return np.frombuffer(b"".join(hashes for (hashes,) in rows), dtype=np.int64)


def _hashes(sketches: np.ndarray[tuple[int, int], np.dtype[np.uint32]]) -> Numbers:
    """A number for each band of each sketch, shape (bands, texts): equal where the band's values are."""
    values = sketches.reshape(len(sketches), BANDS, -1).astype(np.uint64)
    mixed = np.zeros(values.shape[:2], dtype=np.uint64)
    for place in range(values.shape[2]):
        mixed = (mixed ^ values[:, :, place]) * np.uint64(0x9E3779B97F4A7C15)  # wraps around
        mixed ^= mixed >> np.uint64(29)
    return np.ascontiguousarray(mixed.T).view(np.int64)


def _runs(hashes: Numbers, following: Numbers) -> Iterator[Numbers]:
    """The numbers of texts whose hashes are equal, two and more, those beside each other whose next hashes are too."""
    order = np.lexsort((following, hashes))
    for stretch in _stretches(hashes[order]):
        yield order[stretch]


def _stretches(values: Numbers) -> Iterator[slice]:
    """Where a value stands twice and more, in sorted values. Most stand once: nothing is held for those."""
    same = np.concatenate(([False], values[1:] == values[:-1], [False]))
    edges = np.flatnonzero(same[1:] != same[:-1])
    for first, last in edges.reshape(-1, 2).tolist():
        yield slice(first, last + 1)


class _Groups:
    """Numbers in groups, each a tree of parents whose root is its least number."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)
        self._similarity = np.ones(count)

    def of(self, number: int) -> int:
        """The least number of its group."""
        while (parent := int(self._parent[number])) != number:
            self._parent[number] = self._parent[parent]
            number = parent
        return number

    def join(self, one: int, other: int, value: float) -> None:
        """Makes their groups one."""
        low, high = sorted((self.of(one), self.of(other)))
        self._parent[high] = low
        self._similarity[low] = min(self._similarity[low], self._similarity[high], value)

    def are_several(self, numbers: Numbers) -> bool:
        """Whether the numbers are in more than one group."""
        first = self.of(int(numbers[0]))
        return any(self.of(number) != first for number in numbers[1:].tolist())

    def found(self) -> Iterator[AlikeTexts]:
        """Groups of two and more, in the order of their least numbers."""
        roots = self._parent
        while (roots[roots] != roots).any():
            roots = roots[roots]
        order = np.argsort(roots, kind="stable")
        for stretch in _stretches(roots[order]):
            members = order[stretch].tolist()
            yield AlikeTexts(tuple(members), float(self._similarity[members[0]]))
