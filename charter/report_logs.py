"""Logs of a run folder: one JSON object a line, the last of which a crash may have cut short."""

from __future__ import annotations

import json
from typing import Any

from engine.storage import Folder


def log_lines(folder: Folder, file: str) -> list[dict[str, Any]]:
    """The whole lines of a log; none where there is no such file."""
    if not folder.exists(file):
        return []
    return [json.loads(line) for line in folder.read(file).decode().splitlines() if line.endswith("}")]
