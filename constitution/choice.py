"""Which principle is asked: a pure function of the seed and the row, so that any machine draws the same.

Every principle that applies runs an exponential race with its weight as the rate: its time is −log(u) / weight, where
u is a uniform number hashed from (seed, item, round, principle id). The first to arrive is drawn; the first `count`
are a weighted draw without replacement (Efraimidis and Spirakis 2006). Because a time hangs on its own principle
alone, the order of the file does not matter, and adding a principle changes only the draws it wins.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence

from constitution.faults import BadInput, Fault
from constitution.schema import Constitution, Principle

_ALL_BITS = (1 << 64) - 1


def draw_principle(constitution: Constitution, *, seed: int, item_id: str, round: int, category: str = "") -> Principle:  # noqa: A002
    """The principle that critiques and revises `item_id` in this round (from 0).

    Drawn by weight among those that apply to the category; rounds are independent, so one may come twice, as in the
    Constitutional AI paper. Raises BadInput where no principle has a critique and a revision request.
    """
    pool = constitution.for_revision(category)
    if not pool:
        raise BadInput(_cannot_revise(constitution))
    times = _arrival_times(pool, f"revision\0{seed}\0{item_id}\0{round}\0")
    return pool[times.index(min(times))]


def draw_comparison_principles(
    constitution: Constitution, *, seed: int, item_id: str, count: int, category: str = ""
) -> list[Principle]:
    """`count` different principles that compare the two answers to `item_id`, drawn by weight, first drawn first.

    Raises BadInput where fewer apply to the category; `check_count` finds that before a run starts.
    """
    pool = constitution.for_comparison(category)
    if not 1 <= count <= len(pool):
        raise BadInput(_too_many(constitution, count, len(pool), category))
    times = _arrival_times(pool, f"comparison\0{seed}\0{item_id}\0")
    order = sorted(range(len(pool)), key=times.__getitem__)
    return [pool[index] for index in order[:count]]


def check_revision(constitution: Constitution) -> None:
    """Raises BadInput where the constitution cannot revise: no principle has a critique and a revision request."""
    if not constitution.for_revision():
        raise BadInput(_cannot_revise(constitution))


def check_count(constitution: Constitution, count: int) -> None:
    """Raises BadInput where `count` comparison principles cannot be drawn for every category a prompt may have."""
    faults = []
    for category in ("", *constitution.risk_categories):
        available = len(constitution.for_comparison(category))
        if not 1 <= count <= available:
            faults.append(_too_many(constitution, count, available, category))
    if faults:
        raise BadInput(faults)


def _arrival_times(pool: Sequence[Principle], row: str) -> list[float]:
    """When each principle arrives: exponentially distributed with its weight as the rate.

    The row and the id are hashed with SHA-256 apart, and the two joined by the finaliser of SplitMix64 (Steele et al.
    2014): an SHA-256 for each principle and row took three times as long.
    """
    row_bits = _bits(row)
    times = []
    for principle in pool:
        mixed = row_bits ^ _id_bits(principle.id)
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _ALL_BITS
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _ALL_BITS
        uniform = (((mixed ^ (mixed >> 31)) >> 11) + 0.5) * 2.0**-53  # strictly inside (0, 1)
        times.append(-math.log(uniform) / principle.weight)
    return times


def _bits(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


@functools.lru_cache(maxsize=4096)
def _id_bits(principle_id: str) -> int:
    return _bits(principle_id)


def _cannot_revise(constitution: Constitution) -> Fault:
    message = f"the constitution '{constitution.name}' has no principle that can revise"
    return Fault(message, hint="give at least one principle 'critique' and 'revision'")


def _too_many(constitution: Constitution, count: int, available: int, category: str) -> Fault:
    asked = f"{count} comparison principles were asked for" if count != 1 else "1 comparison principle was asked for"
    of = f" for the risk category '{category}'" if category else ""
    message = f"{asked}, and the constitution '{constitution.name}' has {available}{of}"
    hint = f"ask for 1 to {available}" if available else "give at least one principle a 'comparison'"
    return Fault(message, hint=hint)
