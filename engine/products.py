"""From stages to what trainers read: `data/revisions` and `data/preferences`, as Parquet.

    02_revise  ─► data/revisions     prompt, completion (chat messages): TRL's SFT form
    03_compare ─► data/preferences   prompt, chosen, rejected (chat messages), probability: TRL's explicit form,
                                     with the soft target beside it

What is left out is counted by reason; it stays in the stage's own rows. Pairs are left out, weighted or put into a data
set of their own by the policies of their flags (engine/policies.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.policies import Treatment
from engine.records import Preference, RevisedRow, as_table, from_row
from engine.storage import Folder, StageStore
from prompts.messages import Message

ROWS_PER_PART = 5_000


@dataclass(frozen=True, slots=True)
class RevisionExample:
    """A prompt and its revised answer, ready for supervised fine-tuning."""

    item_id: str
    index: int
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    rounds: int
    principle_ids: tuple[str, ...]
    constitution_hash: str
    source: str
    category: str
    vector: str


def revision_example(row: RevisedRow, left_out_flags: Sequence[str]) -> RevisionExample | str:
    """The example, or the reason that there is none."""
    for flag in row.flags:
        if flag in left_out_flags:
            return flag
    if row.final is None:
        return "no final answer"
    return RevisionExample(
        item_id=row.item_id,
        index=row.index,
        prompt=row.messages,
        completion=(Message(role="assistant", content=row.final),),
        rounds=len(row.revisions),
        principle_ids=tuple(revision.principle_id for revision in row.revisions),
        constitution_hash=row.constitution_hash,
        source=row.source,
        category=row.category,
        vector=row.vector,
    )


def write_revisions(store: StageStore, left_out_flags: Sequence[str]) -> dict[str, Any]:
    """Writes `data/revisions` from a sealed stage. Counts what was written, and what was not by reason."""
    target = _DataSet(store.run.child("data/revisions"), RevisionExample)
    left_out: Counter[str] = Counter()
    for row in _rows(store):
        example = revision_example(row, left_out_flags)
        if isinstance(example, str):
            left_out[example] += 1
        else:
            target.add(example)
    return {"rows": target.close(), "left_out": dict(sorted(left_out.items()))}


def write_preferences(store: StageStore, made: Iterable[Treatment]) -> dict[str, Any]:
    """Writes `data/preferences` from a sealed stage, and `data/preferences_<flag>` for pairs that go into a data set of
    their own. `made` says what becomes of each row, in the stage's order. Counts what went where, and why."""
    target = _DataSet(store.run.child("data/preferences"), Preference)
    separate: dict[str, _DataSet] = {}
    left_out: Counter[str] = Counter()
    down_weighted = 0
    for row, treated in zip(_rows(store), made, strict=True):
        example = row.preference()
        if example is None:
            left_out[row.status] += 1
        elif treated.policy == "drop":
            left_out[treated.because[0]] += 1
        elif treated.policy == "separate":
            flag = treated.because[0]
            if flag not in separate:
                separate[flag] = _DataSet(store.run.child(f"data/preferences_{flag}"), Preference)
            separate[flag].add(example)
        else:
            target.add(replace(example, weight=treated.weight))
            down_weighted += treated.policy == "down-weight"
    return {
        "rows": target.close(),
        "left_out": dict(sorted(left_out.items())),
        "separate": {flag: each.close() for flag, each in sorted(separate.items())},
        "down_weighted": down_weighted,
    }


def _rows(store: StageStore) -> Iterator[Any]:
    """The stage's records, in order."""
    return (from_row(store.record, row) for table in store.tables() for row in table.to_pylist())


class _DataSet:
    """A Parquet data set that is written part by part in place of an older one. It is there even without rows."""

    def __init__(self, folder: Folder, record: type[Any]) -> None:
        self.folder, self.record = folder, record
        self.rows = self.parts = 0
        self.waiting: list[Any] = []
        folder.delete("")

    def add(self, example: Any) -> None:
        self.waiting.append(example)
        if len(self.waiting) == ROWS_PER_PART:
            self._flush()

    def close(self) -> int:
        """Writes what is left, and returns how many rows there are in all."""
        if self.waiting or not self.parts:
            self._flush()
        return self.rows

    def _flush(self) -> None:
        self.folder.write_table(f"part-{self.parts:05d}.parquet", as_table(self.waiting, self.record))
        self.rows += len(self.waiting)
        self.parts += 1
        self.waiting.clear()
