"""Content hashes: the same content has the same name on every machine."""

from __future__ import annotations

import hashlib
import json


def content_hash(value: object) -> str:
    """16 hex digits that identify a JSON-like value by its content: the head of SHA-256 over canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
