"""From pairs, flags, policies and decisions to a new pair folder, with a record of what was left out and why.

FOLDER/pairs/              what stays, with its weights
FOLDER/FLAG/               pairs that a policy keeps apart: a pair folder each
FOLDER/removed.parquet     RemovedPair: each pair that is not in pairs/, and why
FOLDER/manifest.json       counts, policies, decisions; written last
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.decisions import Decision, relabelled
from engine.flags import PairFlags
from engine.pairs import Pair, write_pairs
from engine.policies import Treatment, treatment
from engine.records import as_table
from engine.settings import FlagSettings
from engine.storage import Folder

REMOVED_FILE = "removed.parquet"


@dataclass(frozen=True, slots=True)
class RemovedPair:
    """A pair that a filter left out or put elsewhere: `what` (drop, separate), and `because` of which flags or whose
    decision."""

    pair_id: str
    index: int
    source: str
    what: str
    because: tuple[str, ...]


@dataclass
class Filter:
    """Decides about pairs one at a time, and remembers what it did."""

    settings: FlagSettings
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    removed: list[RemovedPair] = field(default_factory=list)
    separate: dict[str, list[Pair]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def kept(self, pairs: Iterable[tuple[Pair, PairFlags]]) -> Iterator[Pair]:
        """The pairs that stay, in their order."""
        for pair, flags in pairs:
            self.counts["read"] += 1
            decision = self.decisions.get(pair.pair_id)
            made = self._treatment(decision, flags)
            if decision == "relabel":
                self.counts["relabelled"] += 1
                pair = relabelled(pair)
            if made.policy in ("drop", "separate"):
                self.counts["dropped" if made.policy == "drop" else "separated"] += 1
                self.removed.append(RemovedPair(pair.pair_id, pair.index, pair.source, made.policy, made.because))
                if made.policy == "separate":
                    self.separate.setdefault(made.because[0], []).append(pair)
                continue
            self.counts["kept"] += 1
            self.counts["down-weighted"] += made.policy == "down-weight"
            yield replace(pair, weight=pair.weight * made.weight)

    def _treatment(self, decision: Decision | None, flags: PairFlags) -> Treatment:
        """A person's word goes before every policy."""
        if decision is None:
            return treatment(flags.names, self.settings)
        return Treatment("drop", ("decision",)) if decision == "drop" else Treatment("keep", ())

    @property
    def reasons(self) -> dict[str, int]:
        """How many pairs each first reason removed."""
        return dict(sorted(Counter(each.because[0] for each in self.removed).items()))


def write_filtered(
    folder: Folder, pairs: Iterable[tuple[Pair, PairFlags]], sieve: Filter, origin: Any
) -> dict[str, Any]:
    """Writes the pair folder and returns its manifest. `origin` is what the manifest says of where it came from."""
    write_pairs(folder, sieve.kept(pairs))
    for flag, apart in sieve.separate.items():
        write_pairs(folder.child(flag), apart)
        folder.child(flag).write_json("manifest.json", {"pairs": len(apart), "flag": flag, "made": origin})
    folder.write_table(REMOVED_FILE, as_table(sieve.removed, RemovedPair))
    manifest = {
        "pairs": sieve.counts["kept"],
        "made": origin,
        "counts": dict(sieve.counts),
        "removed": sieve.reasons,
        "policies": sieve.settings.model_dump(mode="json"),
        "decisions": dict(Counter(sieve.decisions.values())),
    }
    folder.write_json("manifest.json", manifest)
    return manifest
