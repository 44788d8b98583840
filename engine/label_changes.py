"""Which labels differ between two runs over the same pairs, and which principle made each differ.

A label is the mean over principles of P(a is better), so its change is a sum of one share for each principle:

    ΔP = Σ_k ( (p_k' − ½)/n' − (p_k − ½)/n )         n, n' principles that were read; a missing term is 0

The principle with the largest share in the direction of the change is its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from constitution import Constitution
from engine.flags import principle_labels
from engine.records import Comparison

MOVED = 0.1
"""A label that stays on its side and moves by this much is a change."""

Kind = Literal["turned", "lost", "gained", "moved", "same"]
KINDS: dict[Kind, str] = {
    "turned": "prefer the other answer",
    "lost": "had a label and have none",
    "gained": "had no label and have one",
    "moved": f"prefer the same answer, with a probability that moved by {MOVED} or more",
    "same": "are as they were, or nearly",
}
Cause = Literal["edited", "added", "removed", "drawn", "no longer drawn", "answered differently", "read", "not read"]
CAUSES: dict[Cause, str] = {
    "edited": "its text was edited",
    "added": "it was added",
    "removed": "it was removed",
    "drawn": "it was drawn for the pair, and was not before",
    "no longer drawn": "it was not drawn for the pair, and was before",
    "answered differently": "the same text got another answer from the judge",
    "read": "the judge's answer could be read, and could not before",
    "not read": "the judge's answer could not be read, and could before",
}


@dataclass(frozen=True, slots=True)
class Label:
    """What one run said of a pair. `principles` are P(a is better) by principle id where both orders were read;
    `hashes` are those of all principles that were asked."""

    pair_id: str
    source: str
    decided: bool
    probability_a: float | None
    principles: Mapping[str, float]
    hashes: Mapping[str, str]

    @classmethod
    def of(cls, row: Comparison) -> Label:
        return cls(
            pair_id=row.pair_id,
            source=row.source,
            decided=row.status == "decided",
            probability_a=row.probability_a,
            principles=principle_labels(row.votes),
            hashes={vote.principle_id: vote.principle_hash for vote in row.votes},
        )


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One pair in two runs. `principle` and `cause` are the main reason, "" where the labels are the same; `share` is
    how much of the change in P(a is better) that principle made."""

    pair_id: str
    source: str
    kind: Kind
    before: float | None
    after: float | None
    principle: str = ""
    cause: Cause | Literal[""] = ""
    share: float = 0.0


def label_changes(
    before: Mapping[str, Label], after: Iterable[Label], old: Constitution, new: Constitution
) -> Iterator[LabelChange]:
    """The change of every pair that both runs have, in the order of `after`."""
    for label in after:
        former = before.get(label.pair_id)
        if former is not None:
            yield _change(former, label, old, new)


def _change(before: Label, after: Label, old: Constitution, new: Constitution) -> LabelChange:
    kind = _kind(before, after)
    probabilities = (before.probability_a, after.probability_a)
    if kind == "same":
        return LabelChange(after.pair_id, after.source, kind, *probabilities)
    shares = contributions(before.principles, after.principles)
    asked = dict.fromkeys([*before.hashes, *after.hashes])
    difference = sum(shares.values())
    direction = -1 if difference < 0 else 1
    causes = {name: _cause(name, before, after, old, new) for name in asked}
    # Where no label is left, or none was, the sum says nothing: what could not be read then does.
    unread = [name for name, cause in causes.items() if cause in ("read", "not read")]
    pool = unread if kind in ("lost", "gained") and unread else list(asked)
    principle = max(pool, key=lambda name: direction * shares.get(name, 0.0))
    return LabelChange(
        after.pair_id, after.source, kind, *probabilities, principle, causes[principle], shares.get(principle, 0.0)
    )


def contributions(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What each principle adds to the change of the mean; together they are the change, where both have a mean."""
    shares = {name: (label - 0.5) / len(after) for name, label in after.items()}
    for name, label in before.items():
        shares[name] = shares.get(name, 0.0) - (label - 0.5) / len(before)
    return shares


def _kind(before: Label, after: Label) -> Kind:
    if before.decided != after.decided:
        return "gained" if after.decided else "lost"
    if not after.decided or before.probability_a is None or after.probability_a is None:
        return "same"
    if (before.probability_a > 0.5) != (after.probability_a > 0.5):
        return "turned"
    return "moved" if abs(after.probability_a - before.probability_a) >= MOVED else "same"


def _cause(name: str, before: Label, after: Label, old: Constitution, new: Constitution) -> Cause:
    """What is different about a principle that was asked in at least one of the two runs."""
    if name not in before.hashes:
        return "drawn" if any(each.id == name for each in old.principles) else "added"
    if name not in after.hashes:
        return "no longer drawn" if any(each.id == name for each in new.principles) else "removed"
    if before.hashes[name] != after.hashes[name]:
        return "edited"
    if (name in before.principles) != (name in after.principles):
        return "read" if name in after.principles else "not read"
    return "answered differently"
