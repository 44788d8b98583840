"""Rows of several sources in a stated ratio: the largest mixture that holds it without showing a row twice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from engine.records import derived_seed

Row = TypeVar("Row")


def mixture(available: Sequence[int], shares: Sequence[float | None]) -> list[int]:
    """How many rows of each source to take, where it has `available`.

    Shares are relative: 3 and 1 is three rows to one. Without any share every row is taken. Raises ValueError where
    some sources have a share and others have none.
    """
    given = [share for share in shares if share is not None]
    if not given:
        return list(available)
    if len(given) < len(shares):
        raise ValueError("either every source has a share, or none has")
    rows_a_share = min(count / share for count, share in zip(available, given, strict=True))
    # A hair above the product, so that 0.1 × 30 is 3 and not 2.
    return [math.floor(rows_a_share * share + 1e-9) for share in given]


def drawn(rows: Sequence[Row], ids: Sequence[str], count: int, seed: int) -> list[Row]:
    """`count` of the rows, drawn by seed and id and left in their order: a row more in the source moves few others."""
    ranked = sorted(range(len(rows)), key=lambda place: (derived_seed(seed, "mixture", ids[place]), place))
    return [rows[place] for place in sorted(ranked[:count])]
