"""Text of strangers made safe to show: on a terminal, in a page, in a log."""

from __future__ import annotations

import re

# Everything that moves the cursor, changes the terminal or reorders text; line feeds and tabs stay.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with every character that could disturb a terminal or a page written as its code point."""
    return UNPRINTABLE.sub(lambda match: f"<U+{ord(match.group()):04X}>", text)
