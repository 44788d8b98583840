"""Pieces of reports in Markdown: tables, estimates, and text that is somebody else's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from engine.printable import printable
from evaluation.estimates import Estimate


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield "| " + " | ".join(heading) + " |"
    yield "|" + "---|" * len(heading)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def cells(found: Estimate) -> tuple[str, str, str]:
    """An estimate as value, interval and n."""
    interval = "" if found.low is None or found.high is None else f"{found.low:.3f} to {found.high:.3f}"
    return number(found.value), interval, f"{found.n:,}"


def number(value: float | None) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def ranged(found: Estimate) -> str:
    """An estimate in one cell: its value, and its interval in brackets."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} ({found.low:.3f} to {found.high:.3f})"


def plain(text: str) -> str:
    """Somebody else's text on one line: no markup, no line break, no cell of its own, nothing that moves a cursor."""
    one_line = printable(" ".join(text.split()))
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+|!&" else letter for letter in one_line)
