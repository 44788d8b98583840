"""The conversation as every package passes it on."""

from __future__ import annotations

from typing import Literal, TypedDict


class Message(TypedDict):
    """One chat turn, as chat templates read it."""

    role: Literal["system", "user", "assistant"]
    content: str
