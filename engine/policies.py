"""What becomes of a flagged pair: the recipe's policies, applied and counted. Flags find; policies decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from engine.flags import FlagCount, PairFlags
from engine.settings import FlagSettings, Policy


@dataclass(frozen=True, slots=True)
class Treatment:
    """What becomes of one pair, and the flags it is because of. `weight` is what its own weight is multiplied by."""

    policy: Policy
    because: tuple[str, ...]
    weight: float = 1.0


STRICTEST_FIRST: tuple[Policy, ...] = ("drop", "separate", "down-weight")


def treatment(flags: Iterable[str], settings: FlagSettings) -> Treatment:
    """What the strictest policy among a pair's flags makes of it."""
    policies = {name: getattr(settings.policies, name) for name in flags}
    for policy in STRICTEST_FIRST:
        because = tuple(name for name, own in policies.items() if own == policy)
        if because:
            weight = settings.down_weight ** len(because) if policy == "down-weight" else 1.0
            return Treatment(policy, because, weight)
    return Treatment("keep", ())


@dataclass
class TreatmentCounts:
    """How many pairs met each end. A dropped or separated pair counts once, under its first flag."""

    read: int = 0
    kept: int = 0
    down_weighted: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    separated: Counter[str] = field(default_factory=Counter)

    def add(self, made: Treatment) -> None:
        self.read += 1
        if made.policy == "drop":
            self.dropped[made.because[0]] += 1
        elif made.policy == "separate":
            self.separated[made.because[0]] += 1
        else:
            self.kept += 1
            self.down_weighted += made.policy == "down-weight"


def flag_summary(counts: Iterable[FlagCount], settings: FlagSettings) -> dict[str, dict[str, Any]]:
    """Flags as a manifest records them: how many, among how many that could be told, and the policy applied."""
    return {
        each.flag: {
            "count": each.count,
            "known": each.known,
            "rate": each.rate,
            "policy": getattr(settings.policies, each.flag),
            "examples": list(each.examples),
        }
        for each in counts
    }


def treatments(found: Iterable[PairFlags], settings: FlagSettings) -> list[Treatment]:
    """What becomes of each pair, in their order."""
    return [treatment(pair.names, settings) for pair in found]
