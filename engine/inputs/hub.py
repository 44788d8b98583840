"""Rows of a Hugging Face data set: on the hub, saved with `save_to_disk`, or as a folder of its data files.

`datasets` is imported here only, and only when such a source is read: the import takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault, did_you_mean
from engine.inputs.source import PromptSource


def dataset_rows(source: PromptSource) -> Iterator[dict[str, Any]]:
    """The rows of the data set's split, streamed. Raises BadInput where it cannot be found, reached or read."""
    data = _one_split(_load(source), source)
    try:
        yield from data
    # A row is fetched when it is asked for, so whatever the loader, the network or the disk raises comes here.
    except Exception as error:
        raise _unreadable(source, error) from error


def _load(source: PromptSource) -> Any:
    """A data set or a dictionary of them by split. No row is read yet."""
    import datasets

    folder = Path(source.path).expanduser()
    saved = (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()
    try:
        if saved:
            return datasets.load_from_disk(str(folder))
        place = str(folder) if folder.is_dir() else source.path
        return datasets.load_dataset(place, name=source.subset, revision=source.revision, streaming=True)
    # The loader raises from several libraries (its own, the hub's, the HTTP client's), with no common root.
    except Exception as error:
        raise _unreadable(source, error) from error


def _one_split(data: Any, source: PromptSource) -> Any:
    """The split that was asked for, or the only one."""
    if not isinstance(data, dict):
        if source.split:
            raise BadInput(Fault(f"this data set has no splits, and '{source.split}' is asked for", file=source.path))
        return data
    splits = sorted(str(name) for name in data)
    if source.split is None and len(splits) == 1:
        return data[splits[0]]
    if source.split is None:
        message = f"this data set has the splits {', '.join(splits)}"
        raise BadInput(Fault(message, file=source.path, hint="say which with split"))
    if source.split not in data:
        hint = did_you_mean(source.split, splits)
        raise BadInput(Fault(f"this data set has no split '{source.split}'", file=source.path, hint=hint))
    return data[source.split]


def _unreadable(source: PromptSource, error: Exception) -> BadInput:
    first_line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    here = Path(source.path).expanduser().exists()
    if here:
        return BadInput(Fault(f"this data set cannot be read: {first_line}", file=source.path))
    return BadInput(
        Fault(
            f"there is no such path here, and the Hugging Face hub gave no such data set: {first_line}",
            file=source.path,
            hint="check the name and the network, or give a local file or folder",
        )
    )
