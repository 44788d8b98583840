"""Rows out of stored files, one at a time, each with its place. What a row means is conversations.py's business.

A reader yields a `Row`, or a `Fault` for a row that cannot be read, and goes on. It raises BadInput where the
file itself is damaged and nothing after that point can be trusted.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from constitution.faults import BadInput, Fault
from engine.inputs.hub import dataset_rows
from engine.inputs.source import COMPRESSIONS, Input, PromptSource

PARQUET_ROWS_AT_A_TIME = 512
# The csv module refuses cells over 131,072 characters unless told otherwise; a jailbreak can be longer.
LONGEST_CELL = 2**27
ANNOTATOR = "default_annotator"
"""The column that each comparison of annotated pairs is given: the annotator whose word counts, by the file's head."""

DAMAGE = (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands: `line` counts from 1, or `where` names it in a file without lines.

    `shares_columns` says that every row of the file has the same columns, so that a missing one is a fault of the
    file and not of each of its rows.
    """

    values: dict[str, Any]
    file: str
    line: int = 0
    where: str = ""
    shares_columns: bool = False

    @property
    def source(self) -> str:
        """The place in one string, as `Prompt.source` keeps it."""
        return f"{self.file}:{self.line}" if self.line else f"{self.file}: {self.where}"

    def fault(self, message: str, hint: str = "") -> Fault:
        """A fault of this row."""
        return Fault(message, file=self.file, line=self.line, where=self.where, hint=hint)


def read_rows(item: Input, source: PromptSource) -> Iterator[Row | Fault]:
    """The rows of one file or data set, in their order. Raises BadInput where it cannot be read (any further)."""
    if item.container == "dataset":
        for number, values in enumerate(dataset_rows(source), start=1):
            yield Row(values, item.path, where=f"row {number}", shares_columns=True)
        return
    reader = {"json": _json, "csv": _csv, "tsv": _csv, "parquet": _parquet, "text": _text}[item.container]
    place = item.path
    try:
        with _open_binary(item.path) as stream:
            for row in reader(stream, item):
                place = f"{row.file}:{row.line}" if row.line else row.file
                yield row
    except DAMAGE as error:
        # The reason of an OSError without its errno and its path, which stand before it.
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(Fault(f"the file cannot be read any further: {reason}", file=place)) from error


def _open_binary(path: str) -> Any:
    """A file of any filesystem as a stream of bytes, decompressed by its ending. Raises OSError."""
    filesystem, name = fsspec.url_to_fs(path)
    compression = COMPRESSIONS.get(Path(path.lower()).suffix)
    if compression == "zstd":
        # Python 3.11 has no zstandard of its own; pyarrow, which is here anyway, does.
        return io.BufferedReader(pa.CompressedInputStream(filesystem.open(name, "rb"), "zstd"))
    return filesystem.open(name, "rb", compression=compression)


def _json(stream: Any, item: Input) -> Iterator[Row | Fault]:
    """JSON objects one a line; or one JSON array of objects, or a file of annotated pairs, which is parsed whole."""
    for number, line in enumerate(stream, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
            if line.lstrip().startswith(b"["):
                yield from _json_array(line + stream.read(), item)
                return
            if line.strip() == b"{":
                yield from _comparisons(line + stream.read(), item)
                return
        if not line.strip():
            continue
        values = _parsed(line.rstrip(b"\r\n"), item.path, number)
        if isinstance(values, dict):
            yield Row(values, item.path, line=number)
        elif isinstance(values, Fault):
            yield values
        else:
            yield _no_object(values, Fault("", file=item.path, line=number))


def _json_array(content: bytes, item: Input) -> Iterator[Row | Fault]:
    array = _parsed(content, item.path, 1)
    if isinstance(array, Fault):
        raise BadInput(array)
    for number, values in enumerate(array, start=1):
        if isinstance(values, dict):
            yield Row(values, item.path, where=f"item {number}")
        else:
            yield _no_object(values, Fault("", file=item.path, where=f"item {number}"))


def _comparisons(content: bytes, item: Input) -> Iterator[Row | Fault]:
    """The comparisons of annotated pairs, each with the name of the annotator whose word counts."""
    document = _parsed(content, item.path, 1)
    if isinstance(document, Fault):
        raise BadInput(document)
    if not isinstance(document.get("comparisons"), list):
        hint = "write one object a line, or an array of them"
        raise BadInput(Fault("this is one JSON object over several lines, and no table", item.path, 1, hint=hint))
    annotator = (document.get("metadata") or {}).get("default_annotator")
    for number, values in enumerate(document["comparisons"], start=1):
        if isinstance(values, dict):
            yield Row({**values, ANNOTATOR: annotator}, item.path, where=f"comparison {number}")
        else:
            yield _no_object(values, Fault("", file=item.path, where=f"comparison {number}"))


def _parsed(content: bytes, file: str, line: int) -> Any:
    """The JSON value, or the fault of the line."""
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Fault(f"byte {error.start + 1} of the line is not UTF-8", file, line, hint="save the file as UTF-8")
    except json.JSONDecodeError as error:
        return Fault(f"this is not JSON: {error.msg}", file, line + error.lineno - 1, error.colno)
    except (ValueError, RecursionError) as error:
        return Fault(f"this JSON cannot be read: {error}", file, line)


def _no_object(value: Any, place: Fault) -> Fault:
    found = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}.get(type(value), "a number")
    return Fault(f"a JSON object is due, {found} was found", place.file, place.line, where=place.where)


def _csv(stream: Any, item: Input) -> Iterator[Row | Fault]:
    """Cells under a header. A row's line is the one it begins on: quoted cells may span several."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    delimiter = "\t" if item.container == "tsv" else ","
    header: list[str] = []
    line = 1
    # Bytes that are not UTF-8 become lone surrogates here, so that the row they stand in can be named.
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if header and cells:
                    yield _csv_row(header, cells, item.path, line)
                elif cells:
                    header = _csv_header(cells, item.path)
                line = reader.line_num + 1
        except csv.Error as error:
            hint = "is a quotation mark missing or not doubled?"
            raise BadInput(Fault(f"this is not CSV: {error}", item.path, line, hint=hint)) from error


def _csv_header(cells: list[str], file: str) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise BadInput(Fault(f"the header names '{twice[0]}' twice", file, 1))
    return cells


def _csv_row(header: list[str], cells: list[str], file: str, line: int) -> Row | Fault:
    if len(cells) != len(header):
        return Fault(
            f"{len(cells)} cells where the header has {len(header)}",
            file,
            line,
            hint="a cell that holds a comma, a quotation mark or a line break stands in quotation marks",
        )
    if not _is_text("".join(cells)):
        return Fault("this row is not UTF-8", file, line, hint="save the file as UTF-8")
    return Row(dict(zip(header, cells, strict=True)), file, line=line, shares_columns=True)


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _parquet(stream: Any, item: Input) -> Iterator[Row | Fault]:
    number = 0
    for batch in pq.ParquetFile(stream).iter_batches(batch_size=PARQUET_ROWS_AT_A_TIME):
        for values in batch.to_pylist():
            number += 1
            yield Row(values, item.path, where=f"row {number}", shares_columns=True)


def _text(stream: Any, item: Input) -> Iterator[Row | Fault]:
    """One prompt a line; blank lines are passed over. Only the line's own ending is taken off."""
    for number, content in enumerate(stream, start=1):
        content = content.removeprefix(b"\xef\xbb\xbf") if number == 1 else content
        try:
            line = content.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            message = f"byte {error.start + 1} of the line is not UTF-8"
            yield Fault(message, item.path, number, hint="save the file as UTF-8")
            continue
        if line.strip():
            yield Row({"text": line}, item.path, line=number, shares_columns=True)
