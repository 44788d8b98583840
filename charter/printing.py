"""Text of users and models on its way to a terminal or a document."""

from __future__ import annotations

from engine.printable import printable as printable
