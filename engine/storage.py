"""A run folder: what is finished stays finished.

    runs/name/
      README.md recipe.yaml constitution.yaml templates/ manifest.json duplicates.json events.jsonl cost.json
      stages/01_prompts/part-*.parquet _SEALED.json      one Parquet data set a stage, in input order
      stages/02_revise/_unsealed/…                       parts of a stage that is still running
      failed/02_revise/part-*.parquet                    rows set aside, with their errors
      data/revisions/ data/preferences/                  what trainers read
      logs/02_revise/*.log                               what the workers and their engines printed

While a stage runs, workers write small parts: each appears whole or not at all. A part's name holds the key of the
batch it came from, so that a batch tried again finds what it had finished; a finished batch has one part. `seal`
rewrites them in input order, writes the marker, and only then deletes them: a kill at any point loses nothing, and a
sealed stage holds no item twice, whoever wrote it twice.

Paths may be any Arrow or fsspec file system. Left out on purpose: locking on object stores, which have none.
"""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

from constitution.faults import CharterError
from engine.records import FailedRow, arrow_schema, as_table

ROWS_PER_SEALED_PART = 5_000
OBJECT_STORES = (pa.fs.S3FileSystem, pa.fs.GcsFileSystem, pa.fs.AzureFileSystem)
"""They know no folders; asking for one takes a request for each part of its path, each tried until time is up."""
GOOGLE_SECONDS = 30
TABLES_AT_A_TIME = 64


class StorageError(CharterError):
    """A run folder is damaged or cannot be written; the message names the path."""


@dataclass(frozen=True)
class Folder:
    """A folder on any file system. Crosses Ray as its location alone."""

    location: str

    @cached_property
    def _opened(self) -> tuple[pa.fs.FileSystem, str]:
        if "://" not in self.location:
            return pa.fs.LocalFileSystem(), str(Path(self.location).absolute())
        option = ""
        if self.location.startswith(("gs://", "gcs://")):
            # Without an answer Google's client would try for a quarter of an hour, and nobody would hear of it.
            option = f"?retry_limit_seconds={GOOGLE_SECONDS}"
        elif self.location.startswith("s3://"):
            option = "?allow_delayed_open=true"  # a small file takes one request, not three
        try:
            filesystem, root = pa.fs.FileSystem.from_uri(self.location + option)
            return filesystem, str(root)
        except pa.ArrowInvalid:
            import fsspec

            other, root = fsspec.core.url_to_fs(self.location)
            return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(other)), str(root)

    def __getstate__(self) -> dict[str, str]:
        return {"location": self.location}

    @property
    def filesystem(self) -> pa.fs.FileSystem:
        """The Arrow file system that holds the folder."""
        return self._opened[0]

    def path(self, name: str = "") -> str:
        """A name in the folder as a path of its file system. Raises StorageError for one that leads out of it."""
        return posixpath.join(self._opened[1], self._inside(name)) if name else self._opened[1]

    def child(self, name: str) -> Folder:
        """A folder in the folder. Raises StorageError for a name that leads out of it."""
        return Folder(posixpath.join(self.location, self._inside(name)))

    def _inside(self, name: str) -> str:
        """Names come from files of run folders too, which travel between strangers."""
        if name.startswith("/") or ".." in name.split("/"):
            raise StorageError(f"{self.location}: the name {name!r} leads out of the folder")
        return name

    @property
    def is_local(self) -> bool:
        """Whether plain files and locks can be used."""
        return isinstance(self.filesystem, pa.fs.LocalFileSystem)

    def exists(self, name: str = "") -> bool:
        """Whether there is a file or folder of that name."""
        return bool(self.filesystem.get_file_info(self.path(name)).type != pa.fs.FileType.NotFound)

    def names(self, under: str = "", suffix: str = "") -> list[str]:
        """Files below a folder, as sorted names relative to it."""
        selector = pa.fs.FileSelector(self.path(under), recursive=True, allow_not_found=True)
        root = self.path(under).rstrip("/") + "/"
        found = self.filesystem.get_file_info(selector)
        files = [info.path for info in found if info.type == pa.fs.FileType.File and info.path.endswith(suffix)]
        return sorted(path.removeprefix(root) for path in files)

    def written(self) -> dict[str, float]:
        """Every file below the folder by its name, with the time it was last written at, in seconds since 1970."""
        selector = pa.fs.FileSelector(self.path(), recursive=True, allow_not_found=True)
        root = self.path().rstrip("/") + "/"
        found = self.filesystem.get_file_info(selector)
        files = [info for info in found if info.type == pa.fs.FileType.File]
        return {info.path.removeprefix(root): (info.mtime_ns or 0) / 1e9 for info in files}

    def _make_parent(self, path: str) -> None:
        if not isinstance(self.filesystem, OBJECT_STORES):
            self.filesystem.create_dir(posixpath.dirname(path), recursive=True)

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """The file appears whole or not at all, and has reached the disk when this returns."""
        path = self.path(name)
        try:
            if self.is_local:
                _write_whole(Path(path), data)
                return
            self._make_parent(path)
            with self.filesystem.open_output_stream(path) as stream:
                stream.write(data)  # object stores make an object visible when its stream closes
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from error

    def read(self, name: str) -> bytes:
        """The whole file. Raises StorageError where there is none."""
        try:
            with self.filesystem.open_input_stream(self.path(name), compression=None) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise StorageError(f"{self.path(name)}: cannot be read: {error}") from error

    def write_json(self, name: str, value: object) -> None:
        """A JSON file, readable by people."""
        self.write(name, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace"))

    def read_json(self, name: str) -> Any:
        """The value of a JSON file. Raises StorageError where it is damaged."""
        try:
            return json.loads(self.read(name))
        except ValueError as error:
            raise StorageError(f"{self.path(name)}: is no JSON: {error}") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """A Parquet file."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.write(name, sink.getvalue())

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file. Raises StorageError where it is damaged."""
        try:
            return pq.read_table(self.path(name), columns=columns, filesystem=self.filesystem, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise StorageError(f"{self.path(name)}: cannot be read as Parquet: {error}") from error

    def move(self, name: str, to: str) -> None:
        """Gives a file or a folder another name in this folder."""
        self._make_parent(self.path(to))
        self.filesystem.move(self.path(name), self.path(to))

    def delete(self, name: str) -> None:
        """Removes a file or a folder, if it is there."""
        kind = self.filesystem.get_file_info(self.path(name)).type
        if kind == pa.fs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))
        elif kind == pa.fs.FileType.File:
            self.filesystem.delete_file(self.path(name))


def _write_whole(path: Path, data: bytes | pa.Buffer) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(f"{path}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk has no room for halves
        raise


@dataclass(frozen=True)
class StageStore:
    """The rows of one stage: parts while it runs, a sealed data set afterwards. `record` is the row's class."""

    run: Folder
    name: str
    record: type[Any]

    @property
    def folder(self) -> Folder:
        """Where the rows are."""
        return self.run.child(f"stages/{self.name}")

    @property
    def failed_folder(self) -> Folder:
        """Where the rows set aside are."""
        return self.run.child(f"failed/{self.name}")

    # While the stage runs -------------------------------------------------------------------------------------------

    def write_part(self, key: str, number: int, rows: Sequence[Any], failed: Sequence[FailedRow]) -> None:
        """Makes finished items durable. `key` names their batch, `number` counts its parts from 0."""
        if failed:
            self._write_unsealed("failed", key, number, as_table(failed, FailedRow))
        if rows:
            self._write_unsealed("rows", key, number, as_table(rows, self.record))

    def _write_unsealed(self, kind: str, key: str, number: int, table: pa.Table) -> None:
        self.folder.write_table(f"_unsealed/{kind}/{key[:2]}/{key}-{number:04d}.parquet", table)

    def join_parts(self, key: str) -> None:
        """Makes one part of a finished batch's rows: a part for every few seconds of every batch is many to seal.

        A kill on the way leaves rows in two parts, of which this and `seal` take one.
        """
        place = f"_unsealed/rows/{key[:2]}"
        parts = [f"{place}/{name}" for name in self.folder.names(place, ".parquet") if name.startswith(f"{key}-")]
        if len(parts) < 2:
            return
        items, number = self.finished_in(key)
        tables = []
        for part in parts:
            table = self.folder.read_table(part)
            own = items.intersection(table["item_id"].to_pylist())
            tables.append(table.filter(pc.is_in(table["item_id"], pa.array(own, pa.string()))))
            items -= own
        self._write_unsealed("rows", key, number, pa.concat_tables(tables))
        for part in parts:
            self.folder.delete(part)

    def finished_in(self, key: str) -> tuple[set[str], int]:
        """The item ids that earlier tries of a batch finished, and the number of its next part."""
        done: set[str] = set()
        number = 0
        for kind in ("rows", "failed"):
            place = f"_unsealed/{kind}/{key[:2]}"
            for name in self.folder.names(place, ".parquet"):
                if name.startswith(f"{key}-"):
                    done.update(self._item_ids(f"{place}/{name}"))
                    number = max(number, int(name.removesuffix(".parquet").rpartition("-")[2]) + 1)
        return done, number

    def _item_ids(self, name: str) -> list[str]:
        ids: list[str] = self.folder.read_table(name, columns=["item_id"])["item_id"].to_pylist()
        return ids

    # Between runs ---------------------------------------------------------------------------------------------------

    @property
    def is_sealed(self) -> bool:
        """Whether the stage has ended."""
        return self.folder.exists("_SEALED.json")

    def finished(self) -> set[str]:
        """Item ids that need no work: with rows, or set aside. A damaged part is moved away and its items redone."""
        done: set[str] = set()
        for kind in ("rows", "failed"):
            for name in self.folder.names(f"_unsealed/{kind}", ".parquet"):
                place = f"_unsealed/{kind}/{name}"
                try:
                    done.update(self._item_ids(place))
                except StorageError:
                    self._move_away(place)
        for name in self.sealed_parts:
            try:
                done.update(self._item_ids(name))
            except StorageError:
                marker = self.folder.read_json("_SEALED.json")
                marker["parts"].remove(name)
                self.folder.write_json("_SEALED.json", marker)
                if self.folder.exists(name):
                    self._move_away(name)
        done.update(row["item_id"] for row in self.failures(sealed_only=True))
        return done

    def _move_away(self, part: str) -> None:
        self.folder.write(f"_damaged/{posixpath.basename(part)}", self.folder.read(part))
        self.folder.delete(part)

    def forget_failures(self) -> None:
        """Gives the rows set aside another chance."""
        self.failed_folder.delete("")
        self.folder.delete("_unsealed/failed")

    def clear_attempts(self) -> None:
        """Forgets what the workers of a stopped run were trying."""
        self.folder.delete("_unsealed/attempts")

    # Sealing --------------------------------------------------------------------------------------------------------

    def seal(self) -> dict[str, int]:
        """Rewrites the parts in input order and marks the stage as ended. Returns its counts.

        An item that two workers wrote (a node thought dead that was not) keeps the rows of one of them.
        """
        marker: dict[str, Any] = {"generation": 0, "parts": []}
        if self.is_sealed:
            marker = self.folder.read_json("_SEALED.json")
        parts: list[str] = list(marker["parts"])
        parts += [f"_unsealed/rows/{name}" for name in self.folder.names("_unsealed/rows", ".parquet")]
        generation = int(marker["generation"]) + 1
        written: list[str] = []
        places, items = self._places(parts)
        for number, start in enumerate(range(0, len(places), ROWS_PER_SEALED_PART)):
            name = _part_name(generation, number)
            self.folder.write_table(name, self._gather(parts, places[start : start + ROWS_PER_SEALED_PART]))
            written.append(name)
        counts = {"rows": len(places), "items": len(items), "failed": self._seal_failures(items)}
        self.mark_sealed(counts, generation, written)
        return counts

    def mark_sealed(self, counts: Mapping[str, int], generation: int, parts: Sequence[str]) -> None:
        """Says that these parts are the stage, and only then deletes all others."""
        self.folder.write_json("_SEALED.json", {**counts, "generation": generation, "parts": list(parts)})
        for name in self.folder.names(suffix=".parquet"):
            if "/" not in name and name not in parts:
                self.folder.delete(name)
        self.folder.delete("_unsealed")

    def _seal_failures(self, items: pa.Array) -> int:
        """Writes down those set aside that are not among the items, and counts them."""
        rows = {row["item_id"]: row for row in self.failures()}
        finished = pc.is_in(pa.array(rows, pa.string()), value_set=items).to_pylist()
        rows = {item: row for (item, row), done in zip(rows.items(), finished, strict=True) if not done}
        ordered = sorted(rows.values(), key=lambda row: row["index"])
        if ordered:
            table = pa.Table.from_pylist(ordered, schema=arrow_schema(FailedRow))
            self.failed_folder.write_table("part-00000.parquet", table)
        else:
            self.failed_folder.delete("part-00000.parquet")
        return len(ordered)

    def _places(self, parts: Sequence[str]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pa.Array]:
        """(input place, part, row in part) of every row, in that order, each item from one part; and the items' ids.

        The ids of all rows are held at once, in Arrow, where they take a fraction of what Python's strings would.
        """
        ids: list[pa.Array] = [pa.array([], pa.string())]
        places = [np.empty((0, 3), dtype=np.int64)]
        for number, part in enumerate(parts):
            keys = self.folder.read_table(part, columns=["item_id", "index"])
            ids += keys["item_id"].chunks
            index = keys["index"].to_numpy()
            places.append(np.column_stack([index, np.full(len(index), number), np.arange(len(index))]))
        every, encoded = np.concatenate(places), pa.concat_arrays(ids).dictionary_encode()
        codes = encoded.indices.to_numpy()
        owners = np.full(len(encoded.dictionary), len(parts))
        np.minimum.at(owners, codes, every[:, 1])
        every = every[owners[codes] == every[:, 1]]
        return every[np.lexsort((every[:, 2], every[:, 1], every[:, 0]))], encoded.dictionary

    def _gather(self, parts: Sequence[str], places: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Table:
        """The rows at (input place, part, row in part), in that order."""
        tables: list[pa.Table] = []
        positions: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        for part_number in np.unique(places[:, 1]):
            wanted = np.flatnonzero(places[:, 1] == part_number)
            tables.append(self.folder.read_table(parts[part_number]).take(places[wanted, 2]))
            positions.append(wanted)
            if len(tables) == TABLES_AT_A_TIME:  # a table of few rows takes more than they do
                tables = [pa.concat_tables(tables).combine_chunks()]
        return pa.concat_tables(tables).take(np.argsort(np.concatenate(positions))).combine_chunks()

    # Reading --------------------------------------------------------------------------------------------------------

    @property
    def sealed_parts(self) -> list[str]:
        """The files of a sealed stage, by their names in its folder, in input order. None where it is not sealed."""
        return list(self.folder.read_json("_SEALED.json")["parts"]) if self.is_sealed else []

    @property
    def parts(self) -> list[str]:
        """The files with finished rows, sealed or not, by their names in the stage's folder."""
        return self.sealed_parts + [f"_unsealed/rows/{n}" for n in self.folder.names("_unsealed/rows", ".parquet")]

    def tables(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The finished rows, a part at a time: those of a sealed stage in input order, then those not yet sealed."""
        for name in self.parts:
            yield self.folder.read_table(name, columns)

    def failures(self, *, sealed_only: bool = False) -> Iterator[dict[str, Any]]:
        """The rows set aside, as dicts with FailedRow's columns."""
        for name in self.failed_folder.names(suffix=".parquet"):
            yield from self.failed_folder.read_table(name).to_pylist()
        if not sealed_only:
            for name in self.folder.names("_unsealed/failed", ".parquet"):
                yield from self.folder.read_table(f"_unsealed/failed/{name}").to_pylist()


def write_sealed(store: StageStore, batches: Iterable[Sequence[Any]]) -> dict[str, int]:
    """Writes a stage that is made in one go, such as the prompts: batches of records in input order, all rows of an
    item in one of them. Holds one batch at a time."""
    counts = {"rows": 0, "items": 0, "failed": 0}
    parts: list[str] = []
    for batch in batches:
        for start in range(0, len(batch), ROWS_PER_SEALED_PART):
            parts.append(_part_name(1, len(parts)))
            store.folder.write_table(parts[-1], as_table(batch[start : start + ROWS_PER_SEALED_PART], store.record))
        counts["rows"] += len(batch)
        counts["items"] += len({row.item_id for row in batch})
    store.mark_sealed(counts, 1, parts)
    return counts


def _part_name(generation: int, number: int) -> str:
    return f"part-{generation}-{number:05d}.parquet"
