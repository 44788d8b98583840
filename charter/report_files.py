"""Reports as files: NAME.json with every figure, NAME.md for reading, and plots beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault


def write_report(
    folder: Path, name: str, markdown: str, figures: Mapping[str, Any], plots: Mapping[str, str] | None = None
) -> None:
    """Writes a report over the one that was there. Raises BadInput where the folder cannot be written."""
    texts = {
        f"{name}.json": json.dumps(_plain(figures), indent=1, allow_nan=False) + "\n",
        f"{name}.md": markdown,
        **(plots or {}),
    }
    for file, text in texts.items():
        half = folder / f".{file}.half"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            half.write_bytes(text.encode("utf-8", "replace"))
            half.replace(folder / file)
        except OSError as error:
            raise BadInput(Fault(f"the report cannot be written: {error.strerror}", file=str(folder / file))) from None


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
