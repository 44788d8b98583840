"""What an export is made of: the vocabulary of this package.

    Format   a trainer or a tool, by the name that `--format` takes        engine/exporters/trl.py, …
    └─ Form  how it wants one kind of data: columns, file, notes           one a kind

A form turns one example into one row. What is carried beside the trainer's own columns is the same for all forms of a
kind (`CARRIED`), so that an export can be read back, judged and mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from engine.records import arrow_type
from prompts.messages import Message

Kind = Literal["preference", "reward", "sft", "prompts", "unpaired"]
Stored = Literal["parquet", "jsonl", "json"]
Split = Literal["train", "test"]
Row = dict[str, Any]

KINDS: dict[Kind, str] = {
    "preference": "pairs, for DPO and its relatives",
    "reward": "the same pairs in the form that reward models want",
    "sft": "prompts and revised answers, for supervised fine-tuning",
    "prompts": "prompts alone, for reinforcement learning",
    "unpaired": "single answers with a good or bad label, for KTO",
}

TEXT, NUMBER, WHOLE, YES_NO = pa.string(), pa.float64(), pa.int64(), pa.bool_()
MESSAGES = arrow_type(tuple[Message, ...])
TAGS: dict[str, pa.DataType] = {"source": TEXT, "category": TEXT, "vector": TEXT}

_PAIR: dict[str, pa.DataType] = {
    "pair_id": TEXT,
    "probability": NUMBER,
    "order_consistent": NUMBER,
    "status": TEXT,
    "both_bad": YES_NO,
    "chosen_bad": NUMBER,
    "rejected_bad": NUMBER,
    "grade": TEXT,
    "weight": NUMBER,
    "principle_ids": pa.list_(TEXT),
    "constitution_hash": TEXT,
    **TAGS,
}
CARRIED: dict[Kind, dict[str, pa.DataType]] = {
    "preference": _PAIR,
    "reward": _PAIR,
    "sft": {
        "item_id": TEXT,
        "rounds": WHOLE,
        "principle_ids": pa.list_(TEXT),
        "constitution_hash": TEXT,
        **TAGS,
    },
    "prompts": {"item_id": TEXT, **TAGS},
    "unpaired": {"pair_id": TEXT, "probability": NUMBER, "weight": NUMBER, "constitution_hash": TEXT, **TAGS},
}
"""Columns of the examples that go along with every form of a kind, unless the form has a column of that name."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of an export, by its name in the folder. `split_name` is what the trainer calls the split."""

    kind: Kind
    split: Split
    split_name: str
    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class Form:
    """How one trainer reads one kind of data.

    `columns` are the trainer's own; `row` makes them of an example. `use` is how the trainer is told; export.py puts
    the paths in it. `notes` say what the form loses and what
    to mind. `refuses` gives the reason why this form cannot hold an example that others can.
    """

    columns: Mapping[str, pa.DataType]
    row: Callable[[Any], Row]
    stored: Stored
    use: str
    notes: tuple[str, ...] = ()
    refuses: Callable[[Any], str | None] = lambda example: None
    carries: bool = True
    """Whether the columns of CARRIED go along."""
    takes_margin: bool = False
    """Whether the trainer reads a column `margin`."""
    row_in_split: Callable[[Row, Split], Row] = lambda row, split: row
    """Writes the split into a row, for a trainer that looks for it there."""
    document: Callable[[Sequence[Row], Mapping[str, str]], object] | None = None
    """Makes one JSON value of all rows and of the principles' texts by id, where a file is one value."""
    splits: Mapping[Split, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    """What the trainer calls the splits."""
    file: str = "{kind}/{split}"
    """Where a split lies in the export, without its ending."""


@dataclass(frozen=True, slots=True)
class Format:
    """A trainer or a tool and the kinds of data it takes. `beside` gives the JSON files that lie beside the data."""

    title: str
    forms: Mapping[Kind, Form]
    beside: Callable[[Sequence[DataFile]], Mapping[str, object]] = lambda files: {}
