"""Duplicates among prompts: exact ones are dropped and reported, near ones are reported.

A prompt is a row of a run by its `item_id`, so a run holds each only once: the first is kept. Near duplicates
cost money and tilt a data set, but which to keep is the user's choice.

    prompts ──► distinct() ──► the first of each item_id ──► the run
                   │  MinHash of word triples (rensa) ──► candidates ──► exact Jaccard similarity
                   └──────────────────► report()

Two prompts are near duplicates where the Jaccard similarity of their sets of word triples reaches the threshold.
Case, punctuation and spacing do not count. System messages do not either: one for all prompts would make them
all alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rensa import RMinHash, RMinHashLSH

from engine.records import Prompt

# A pair of similarity 0.8 shares none of 32 bands of 4 values with probability (1 − 0.8⁴)³² = 5e-8.
PERMUTATIONS, BANDS, SEED = 128, 32, 42
SKETCHED_AT_A_TIME = 256
# The sketch's estimate of similarity s has a standard deviation of √(s(1 − s)/128), 0.044 at most: five of them.
ESTIMATE_SLACK = 0.22
# Of a group of near duplicates, so many are looked up against; more would only be found again.
GROUP_MEMBERS_INDEXED = 32
# Candidates of one prompt that are compared exactly, the likeliest first, each of another group.
CANDIDATES_COMPARED = 16

PLACES_NAMED = 5

# Scripts written without spaces (Thai to Khmer, Japanese, Chinese, Korean) count by character.
WORD = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Where a prompt stands in the input."""

    item_id: str
    index: int
    source: str


@dataclass(frozen=True, slots=True)
class ExactGroup:
    """One conversation that the input holds more than once: the first is kept, the others are dropped."""

    kept: Occurrence
    dropped: tuple[Occurrence, ...]


@dataclass(frozen=True, slots=True)
class NearGroup:
    """Distinct prompts that say nearly the same, in input order. `similarity` is the least that links one of them
    to the others."""

    members: tuple[Occurrence, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What was found. `near_threshold` is None where near duplicates were not looked for."""

    prompts: int
    distinct: int
    exact: tuple[ExactGroup, ...]
    near: tuple[NearGroup, ...]
    near_threshold: float | None

    @property
    def dropped(self) -> int:
        """Prompts that were left out because an equal one came before."""
        return self.prompts - self.distinct

    def lines(self, groups: int = 5) -> Iterator[str]:
        """The report for people: the counts, then the first groups of either kind with their places."""
        exact_found = _counted(self.dropped, "exact duplicate")
        yield f"{_counted(self.prompts, 'prompt')} read, {self.distinct:,} distinct, {exact_found} dropped"
        for exact in self.exact[:groups]:
            yield f"  kept {exact.kept.source}, dropped {_places(exact.dropped)}"
        yield from _more(len(self.exact), groups)
        if self.near_threshold is None:
            return
        alike = _counted(sum(len(near.members) for near in self.near), "near duplicate")
        yield f"{alike} in {_counted(len(self.near), 'group')} (similarity ≥ {self.near_threshold:g}), all kept"
        for near in self.near[:groups]:
            yield f"  {near.similarity:.2f}: {_places(near.members)}"
        yield from _more(len(self.near), groups)


def _places(found: Sequence[Occurrence]) -> str:
    rest = len(found) - PLACES_NAMED
    named = ", ".join(place.source for place in found[:PLACES_NAMED])
    return f"{named} and {rest:,} more" if rest > 0 else named


def _more(found: int, shown: int) -> Iterator[str]:
    if found > shown:
        yield f"  … and {_counted(found - shown, 'group')} more"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def find_duplicates(prompts: Iterable[Prompt], near_threshold: float | None = 0.8) -> DuplicateReport:
    """The duplicates among prompts that need not be kept."""
    finder = DuplicateFinder(near_threshold)
    for _ in finder.distinct(prompts):
        pass
    return finder.report()


class DuplicateFinder:
    """Passes each conversation on once, and remembers what it saw.

    It holds a place for every distinct prompt and, unless `near_threshold` is None, its text and a sketch of about
    a kilobyte. The threshold is a Jaccard similarity in (0.5, 1]: below that the candidates become incomplete.
    """

    def __init__(self, near_threshold: float | None = 0.8) -> None:
        if near_threshold is not None and not 0.5 < near_threshold <= 1:
            raise ValueError(f"near_threshold is above 0.5 and at most 1, or None; {near_threshold} was given")
        self._first: dict[str, Occurrence] = {}
        self._repeats: dict[str, list[Occurrence]] = {}
        self._near = None if near_threshold is None else _NearIndex(near_threshold)
        self._waiting: list[Prompt] = []

    def distinct(self, prompts: Iterable[Prompt]) -> Iterator[Prompt]:
        """The first prompt of each `item_id`, in their order and as they come."""
        for prompt in prompts:
            place = Occurrence(prompt.item_id, prompt.index, prompt.source)
            if self._first.setdefault(prompt.item_id, place) is not place:
                self._repeats.setdefault(prompt.item_id, []).append(place)
                continue
            self._waiting.append(prompt)
            if len(self._waiting) >= SKETCHED_AT_A_TIME:
                self._sketch()
            yield prompt

    def report(self) -> DuplicateReport:
        """What was found among the prompts so far."""
        self._sketch()
        places = list(self._first.values())
        return DuplicateReport(
            prompts=len(places) + sum(len(repeats) for repeats in self._repeats.values()),
            distinct=len(places),
            exact=tuple(ExactGroup(self._first[key], tuple(repeats)) for key, repeats in self._repeats.items()),
            near=() if self._near is None else tuple(self._near.groups(places)),
            near_threshold=None if self._near is None else self._near.threshold,
        )

    def _sketch(self) -> None:
        if self._near is not None:
            self._near.add([spoken(prompt) for prompt in self._waiting])
        self._waiting.clear()


def spoken(prompt: Prompt) -> str:
    """What two prompts are compared by: the texts of all turns but the system's."""
    return "\n".join(message["content"] for message in prompt.messages if message["role"] != "system")


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


@dataclass(slots=True)
class _Group:
    """Texts linked so far, by number, and the least similarity among the links."""

    members: list[int]
    similarity: float = 1.0
    indexed: int = 0


@dataclass
class _NearIndex:
    """Texts by number, in the order they were added; each is looked up among the ones before it."""

    threshold: float
    texts: list[str] = field(default_factory=list)
    sketches: list[RMinHash] = field(default_factory=list)
    group_of: list[_Group] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._index = RMinHashLSH(self.threshold, PERMUTATIONS, BANDS)

    def add(self, texts: list[str]) -> None:
        sets = [shingles(text) for text in texts]
        sketches = RMinHash.from_token_sets(sets, PERMUTATIONS, SEED)
        for text, own, sketch in zip(texts, sets, sketches, strict=True):
            number = len(self.texts)
            self.texts.append(text)
            self.sketches.append(sketch)
            self.group_of.append(_Group([number]))
            self._link(number, own, self._candidates(sketch))
            group = self.group_of[number]
            if group.indexed < GROUP_MEMBERS_INDEXED:
                group.indexed += 1
                self._index.insert(number, sketch)

    def _candidates(self, sketch: RMinHash) -> list[int]:
        """Earlier texts that may be near, the likeliest first."""
        estimates = ((sketch.jaccard(self.sketches[other]), other) for other in self._index.query(sketch))
        likely = sorted((-value, other) for value, other in estimates if value >= self.threshold - ESTIMATE_SLACK)
        return [other for _, other in likely]

    def _link(self, number: int, own: set[str], candidates: list[int]) -> None:
        """Joins the groups of the candidates that are near."""
        compared = 0
        for other in candidates:
            if compared == CANDIDATES_COMPARED:
                return
            if self.group_of[other] is self.group_of[number]:
                continue
            compared += 1
            value = similarity(own, shingles(self.texts[other]))
            if value >= self.threshold:
                self._join(number, other, value)

    def _join(self, number: int, other: int, value: float) -> None:
        """Moves the smaller group into the larger."""
        small, large = sorted((self.group_of[number], self.group_of[other]), key=lambda group: len(group.members))
        large.members.extend(small.members)
        large.similarity = min(large.similarity, small.similarity, value)
        large.indexed += small.indexed
        for member in small.members:
            self.group_of[member] = large

    def groups(self, places: list[Occurrence]) -> Iterator[NearGroup]:
        """Groups of two and more, in the order of their first members."""
        for number, group in enumerate(self.group_of):
            members = sorted(group.members)
            if len(members) > 1 and members[0] == number:
                yield NearGroup(tuple(places[member] for member in members), group.similarity)
