"""Writing an export: a folder that appears whole, or not at all.

Everything goes into a hidden folder beside the target, which takes the target's place at the end. What a kill leaves
behind is hidden, and may be deleted.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from constitution.faults import BadInput, Fault
from engine.exporters.form import Row, Stored

ROWS_AT_A_TIME = 1_000
MARKER = "_EXPORT.json"
"""What was exported and how; its presence makes a folder an export."""


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Raises BadInput where an export cannot be written to the folder, or would destroy something."""
    where = f"output {folder}"
    if "://" in str(folder):
        raise BadInput(Fault("exports are written to local folders", where=where, hint="copy it from there"))
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise BadInput(Fault(f"{existing} is a file, and a folder is due there", where=where, hint="name another"))
    if not os.access(existing, os.W_OK):
        raise BadInput(Fault(f"nothing can be written in {existing}", where=where, hint="name another"))
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not overwrite:
        raise BadInput(Fault("there is something in it already", where=where, hint="--overwrite replaces an export"))
    if not (folder / MARKER).is_file():
        message = "it is not an export, so it is not replaced"
        raise BadInput(Fault(message, where=where, hint="name another folder with --output"))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write in, which takes the place of `folder` when the block ends well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = folder.parent / f".{folder.name}.{os.getpid()}.new"
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    try:
        yield written
        for path in sorted(written.rglob("*")):
            if path.is_file():
                _to_disk(path)
        replaced = folder.parent / f".{folder.name}.{os.getpid()}.old"
        if folder.exists():
            folder.rename(replaced)
        written.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


class RowFile(Protocol):
    """A data file that rows are added to."""

    def add(self, row: Row) -> None:
        """Takes one row."""

    def close(self) -> None:
        """Writes what is left."""


class ParquetRows:
    """A Parquet file of a fixed schema, written some rows at a time."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[Row] = []

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        if len(self._waiting) >= ROWS_AT_A_TIME:
            self._write()

    def _write(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting.clear()

    def close(self) -> None:
        self._write()
        self._writer.close()


class JsonLines:
    """One JSON object a line, in ASCII: no reader can take a character of a text for the end of a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii")

    def add(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n")

    def close(self) -> None:
        self._file.close()


class JsonDocument:
    """One JSON value made of all rows."""

    def __init__(self, path: Path, document: Callable[[list[Row]], object]) -> None:
        self._path = path
        self._document = document
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def close(self) -> None:
        text = json.dumps(self._document(self._rows), ensure_ascii=True, allow_nan=False, indent=1)
        self._path.write_text(text + "\n", encoding="ascii")


def row_file(
    path: Path, stored: Stored, columns: Mapping[str, pa.DataType], document: Callable[[list[Row]], Any] | None
) -> RowFile:
    """A new data file."""
    if stored == "parquet":
        return ParquetRows(path, pa.schema(list(columns.items())))
    if stored == "jsonl":
        return JsonLines(path)
    assert document is not None
    return JsonDocument(path, document)
