"""Files of labels beside a user's own: written whole or not at all, and never over something else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault
from evaluation.answers import set_name

ENDINGS = (".jsonl", ".csv")


def labels_path(path: str, output: str | None, what: str) -> Path:
    """Where labels go: the file that was asked for, or `NAME.<what>.jsonl` in the folder the command runs in."""
    if output is None:
        return Path(f"{set_name(path)}.{what}.jsonl")
    target = Path(output)
    if target.suffix not in ENDINGS:
        raise BadInput(Fault("labels are written as .jsonl or .csv", file=output, where="--output"))
    return target


def check_free(target: Path, *, force: bool) -> None:
    """Raises BadInput where the file is there: before work that would be lost."""
    if target.exists() and not force:
        raise BadInput(Fault("the file exists already", file=str(target), hint=HINT))


HINT = "choose another with --output, or say --force"


def write_labels(target: Path, rows: Sequence[Mapping[str, Any]], *, force: bool = False) -> None:
    """Writes the rows. Raises BadInput where the file holds something else, unless forced, or cannot be written."""
    text = _csv(rows) if target.suffix == ".csv" else "".join(json.dumps(row) + "\n" for row in rows)
    content = text.encode("utf-8", "replace")
    try:
        if target.exists() and not force and target.read_bytes() != content:
            raise BadInput(Fault("the file exists already and holds something else", file=str(target), hint=HINT))
        half = target.with_name(f".{target.name}.half")
        half.write_bytes(content)
        half.replace(target)
    except OSError as error:
        raise BadInput(Fault(f"the file cannot be written: {error.strerror}", file=str(target))) from None


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    # A cell that begins like a formula is one to a spreadsheet.
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
