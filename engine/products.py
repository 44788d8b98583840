"""From stages to what trainers read: `data/revisions` and `data/preferences`, as Parquet.

    02_revise  ─► data/revisions     prompt, completion (chat messages): TRL's SFT form
    03_compare ─► data/preferences   prompt, chosen, rejected (chat messages), probability: TRL's explicit form,
                                     with the soft target beside it

What is left out is counted by reason; it stays in the stage's own rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from engine.records import Comparison, Preference, RevisedRow, arrow_schema, as_table, from_row
from engine.storage import StageStore
from prompts.messages import Message


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


def preference_example(row: Comparison) -> Preference | str:
    """The labelled pair, or the reason that there is none."""
    return row.preference() or row.status


def write_products(store: StageStore, name: str, left_out_flags: Sequence[str]) -> dict[str, Any]:
    """Writes `data/<name>` from a sealed stage, part by part. Counts what was written, and what was not by reason."""
    target = store.run.child(f"data/{name}")
    record = RevisionExample if store.record is RevisedRow else Preference
    left_out: Counter[str] = Counter()
    written = 0
    target.delete("")
    for number, table in enumerate(store.tables()):
        examples: list[Any] = []
        for example in _examples(store, table, left_out_flags):
            if isinstance(example, str):
                left_out[example] += 1
            else:
                examples.append(example)
        written += len(examples)
        target.write_table(f"part-{number:05d}.parquet", as_table(examples, record))
    if not target.exists():
        target.write_table("part-00000.parquet", arrow_schema(record).empty_table())
    return {"rows": written, "left_out": dict(sorted(left_out.items()))}


def _examples(
    store: StageStore, table: Any, left_out_flags: Sequence[str]
) -> Iterator[RevisionExample | Preference | str]:
    for row in table.to_pylist():
        if store.record is RevisedRow:
            yield revision_example(from_row(RevisedRow, row), left_out_flags)
        else:
            yield preference_example(from_row(Comparison, row))
