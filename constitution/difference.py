"""What changed between two constitutions, and which stored labels no longer say what the new one would."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from constitution.schema import Constitution, Principle

TEXTS = ("critique", "revision", "comparison")


@dataclass(frozen=True, slots=True)
class Change:
    """A principle that both constitutions have, and that is not the same in both. `stale`: rows made with the old one
    were asked something else than the new one asks."""

    old: Principle
    new: Principle
    fields: tuple[str, ...]

    @property
    def stale(self) -> bool:
        return self.old.hash != self.new.hash


@dataclass(frozen=True, slots=True)
class Difference:
    """Principles added, removed, renamed (old id, new id; the same hash) and changed, and whether the preamble is."""

    added: tuple[Principle, ...]
    removed: tuple[Principle, ...]
    renamed: tuple[tuple[str, str], ...]
    changed: tuple[Change, ...]
    unchanged: int
    preamble: bool

    @property
    def stale_hashes(self) -> dict[str, str]:
        """Principle hash: id, for the changed principles whose stored labels go stale."""
        return {change.old.hash: change.old.id for change in self.changed if change.stale}

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.renamed or self.changed or self.preamble)


def difference(old: Constitution, new: Constitution) -> Difference:
    """What turns `old` into `new`."""
    before, after = ({each.id: each for each in each_of.principles} for each_of in (old, new))
    gone = {name: each for name, each in before.items() if name not in after}
    come = {name: each for name, each in after.items() if name not in before}
    renamed = []
    for name, each in list(come.items()):
        former = next((old_name for old_name, other in gone.items() if other.hash == each.hash), None)
        if former is not None:
            renamed.append((former, name))
            del gone[former], come[name]
    both = [(before[name], after[name]) for name in before if name in after]
    changed = [Change(one, other, _fields_changed(one, other)) for one, other in both if one != other]
    return Difference(
        added=tuple(come.values()),
        removed=tuple(gone.values()),
        renamed=tuple(renamed),
        changed=tuple(changed),
        unchanged=len(both) - len(changed),
        preamble=old.preamble != new.preamble,
    )


def _fields_changed(old: Principle, new: Principle) -> tuple[str, ...]:
    return tuple(name for name in Principle.model_fields if getattr(old, name) != getattr(new, name))


def words_changed(old: str, new: str) -> Iterator[tuple[Literal["same", "old", "new"], str]]:
    """The two texts as one run of words: those they share, those only `old` has, those only `new` has."""
    before, after = (re.findall(r"\w+|[^\w\s]|\s+", text) for text in (old, new))
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            yield "same", "".join(before[start:end])
            continue
        if end > start:
            yield "old", "".join(before[start:end])
        if other_end > other_start:
            yield "new", "".join(after[other_start:other_end])
