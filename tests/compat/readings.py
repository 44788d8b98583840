"""What the readers of tests/compat share. It runs in a trainer's environment, so it imports nothing of Charter's.

A reader is called with an export and a tiny model. `told` is what the export was made of, as plain rows that check.py
wrote beside it; a trainer's loader must come to the same conversations.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def given() -> tuple[Path, str]:
    """The export and the model that check.py names."""
    return Path(sys.argv[1]), sys.argv[2]


def told(exported: Path, kind: str) -> list[dict[str, Any]]:
    """The rows that the train split of a kind was made of, as messages."""
    lines = (exported.parent / f"{exported.name}.told" / f"{kind}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def compare(kind: str, read: int, expected: int) -> None:
    """Says how many rows were read, and fails where some are missing."""
    print(f"  {kind}: {read} of {expected} rows read")
    assert read == expected > 0


def same_text(tokenizer: Any, ids: Any, messages: list[dict[str, str]]) -> None:
    """The ids say the conversation as the tokenizer's own template writes it, but for white space at the end."""
    read = tokenizer.decode(ids)
    said = tokenizer.apply_chat_template(messages, tokenize=False)
    assert read.rstrip() == said.rstrip(), f"{read!r} is not {said!r}"
