"""What the map can be coloured by: for each pair, which of a few named values it has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from engine.pairs import Pair, text_of

Flags = Mapping[str, Mapping[str, str]]
"""By the id of a pair: its flags, each with how it was seen."""

MOST_VALUES = 40
OTHERS = "(others)"
STEPS = 5


@dataclass(frozen=True, slots=True)
class Facet:
    """`of` holds, for each pair, the numbers of its values: none, one or several.

    The values of a "group" have no order; "steps" run from low to high. `none` is what having no value is called.
    `notes` say what the values mean; `numbers` are what the steps were made of, to be shown with a pair.
    """

    key: str
    label: str
    kind: Literal["group", "steps"]
    values: tuple[str, ...]
    of: tuple[tuple[int, ...], ...]
    none: str = "none"
    notes: tuple[str, ...] | None = None
    numbers: tuple[float | None, ...] | None = None


def facets_of(pairs: Sequence[Pair], flags: Flags, meanings: Mapping[str, str]) -> list[Facet]:
    """All that tells these pairs apart. A facet that says the same of every pair is left out."""
    words = [(_words(pair.chosen), _words(pair.rejected)) for pair in pairs]
    found = [
        _flags([tuple(flags.get(pair.pair_id, ())) for pair in pairs], meanings),
        _group("principle", "Principles", [pair.principle_ids for pair in pairs]),
        _group("category", "Category", [_said(pair.category) for pair in pairs]),
        _group("vector", "Attack vector", [_said(pair.vector) for pair in pairs]),
        _steps("probability", "Probability", [pair.probability for pair in pairs], probability_edges),
        _steps("margin", "Margin", [pair.margin for pair in pairs], quantile_edges),
        _group("label", "Label", [(pair.status,) for pair in pairs]),
        _group("file", "File", [_said(file_of(pair.source)) for pair in pairs]),
        _named_steps("length", "Length of chosen", LENGTHS, [length_step(*both) for both in words]),
        _named_steps("turns", "User turns", TURNS, [_turns_step(pair) for pair in pairs]),
    ]
    return [facet for facet in found if len(set(facet.of)) > 1]


def file_of(source: str) -> str:
    """The file of a pair's place: `pairs.jsonl` of `pairs.jsonl:12` and of `pairs.jsonl: row 12`."""
    file, colon, place = source.rpartition(":")
    return file if colon and (place.strip().isdigit() or place.startswith(" ")) else source


def _said(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _group(key: str, label: str, said: Sequence[Iterable[str]], none: str = "none") -> Facet:
    """The most common values by their own names, the rest together."""
    each = [tuple(dict.fromkeys(values)) for values in said]
    common = Counter(value for values in each for value in values).most_common()
    names = [value for value, _ in common]
    if len(names) > MOST_VALUES:
        names = [*names[: MOST_VALUES - 1], OTHERS]
    number = {name: place for place, name in enumerate(names)}
    of = tuple(tuple(sorted({number.get(value, len(names) - 1) for value in values})) for values in each)
    return Facet(key, label, "group", tuple(names), of, none=none)


def _flags(said: Sequence[tuple[str, ...]], meanings: Mapping[str, str]) -> Facet:
    facet = _group("flag", "Flags", said, none="no flag")
    return replace(facet, notes=tuple(meanings.get(name, "") for name in facet.values))


def _steps(
    key: str,
    label: str,
    numbers: Sequence[float | None],
    edges_of: Callable[[Sequence[float]], Sequence[float]],
) -> Facet:
    numbers = [number if number is not None and math.isfinite(number) else None for number in numbers]
    known = [number for number in numbers if number is not None]
    edges = list(edges_of(known))
    names = tuple(f"{low:.3g} to {high:.3g}" if low < high else f"{low:.3g}" for low, high in pairwise(edges))
    inner = edges[1:-1]
    of = tuple(() if number is None else (int(np.searchsorted(inner, number, side="right")),) for number in numbers)
    rounded = tuple(None if number is None else float(f"{number:.4g}") for number in numbers)
    return Facet(key, label, "steps", names, of, none="not known", numbers=rounded)


def probability_edges(known: Sequence[float]) -> Sequence[float]:
    """Five equal steps from one half up; from nothing where a label lies below one half."""
    lowest = 0.0 if known and min(known) < 0.5 else 0.5
    return [round(float(edge), 2) for edge in np.linspace(lowest, 1, STEPS + 1)]


def quantile_edges(known: Sequence[float]) -> Sequence[float]:
    """Edges between which about a fifth of the numbers lie each, fewer where numbers repeat."""
    if not known:
        return []
    edges = np.unique(np.quantile(known, np.linspace(0, 1, STEPS + 1)))
    return [float(edge) for edge in edges] if len(edges) > 1 else [float(edges[0])] * 2


def _named_steps(key: str, label: str, names: tuple[str, ...], steps: Sequence[int]) -> Facet:
    return Facet(key, label, "steps", names, tuple((step,) for step in steps))


LENGTHS = ("less than half of rejected", "shorter", "about the same", "longer", "more than double")


def length_step(chosen: int, rejected: int) -> int:
    """Which of LENGTHS two counts of words make; a tenth of difference is about the same."""
    ratio = (chosen + 1) / (rejected + 1)
    return sum(ratio > edge for edge in (1 / 2, 1 / 1.1, 1.1, 2))


TURNS = ("1", "2", "3", "4", "5 or more")


def _turns_step(pair: Pair) -> int:
    turns = sum(message["role"] == "user" for message in pair.prompt)
    return min(max(turns, 1), len(TURNS)) - 1


def _words(messages: Sequence[object]) -> int:
    return len(text_of(messages).split())  # type: ignore[arg-type]
