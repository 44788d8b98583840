"""The rows that stages hand to each other, and how they are stored.

    record       made by                        read by
    Prompt       engine/inputs.py               every chain
    Call         every chain                    `charter show`, engine/cost.py: one question to a model
    Response     respond                        revise, compare
    Critique     critique ► revise              the reviser, `charter show`
    Revision     critique ► revise              SFT, `charter show`
    RevisedRow   the revise stage, one a prompt  exporters, trainers/sft
    Vote         compare                        Comparison
    Comparison   the compare stage, one a pair   Preference, flags, the map
    Preference   Comparison.preference()        preference models, exporters

A row says where all of it came from: content hashes, principle, template, model, sampling, seed, token counts,
finish reasons, and the raw votes behind a label. `None` means "not known"; it never stands for a default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from prompts.messages import Message

SCHEMA_VERSION = 1

TEXT, FLOAT, INTEGER, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
MESSAGES = pa.list_(pa.struct({"role": TEXT, "content": TEXT}))


def content_hash(value: object) -> str:
    """16 hex digits that identify a JSON-like value by its content."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def derived_seed(*parts: object) -> int:
    """A seed in [0, 2**31) that depends on the parts alone: the same row draws the same text on any machine."""
    return int(content_hash([str(part) for part in parts])[:8], 16) & 0x7FFFFFFF


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for the assistant's turn: it ends with a user message.

    `item_id` is the content hash of the messages; `index` is the place in the input; `source` says file and row.
    `category` and `vector` are tags where the input has them ("" otherwise); `extra` keeps the input's other
    columns as JSON text.
    """

    item_id: str
    index: int
    messages: tuple[Message, ...]
    source: str = ""
    category: str = ""
    vector: str = ""
    extra: str = ""

    @classmethod
    def of(cls, messages: Sequence[Message], index: int = 0, **columns: str) -> Prompt:
        """A prompt with its content hash. The messages are taken as they are."""
        copied = tuple(Message(role=m["role"], content=m["content"]) for m in messages)
        return cls(item_id=content_hash(list(copied)), index=index, messages=copied, **columns)

    SCHEMA = pa.schema(
        {
            "item_id": TEXT,
            "index": INTEGER,
            "messages": MESSAGES,
            "source": TEXT,
            "category": TEXT,
            "vector": TEXT,
            "extra": TEXT,
        }
    )
