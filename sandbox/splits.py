"""What is trained on and what is judged: items, phrasings, vector templates and principle phrases, apart by hash.

A list is ranked by the hash of its members, and a share of it goes to each split. Adding a member moves few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

Split = Literal["train", "development", "held_out"]
SPLITS: tuple[Split, ...] = ("train", "development", "held_out")


def members(names: Sequence[str], family: str, split: Split, share: float = 0.12) -> list[str]:
    """The members of a list that belong to a split, in the list's order.

    `share` of them is held out and as much is for development, at least one each; the rest is trained on.
    `family` keeps equal names of different lists apart.
    """
    assert len(names) >= 3, f"{family} is too short to be split: {names}"
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{family}\0{name}".encode()).digest())
    count = max(1, round(share * len(names)))
    chosen = {
        "held_out": ranked[:count],
        "development": ranked[count : 2 * count],
        "train": ranked[2 * count :],
    }[split]
    return [name for name in names if name in set(chosen)]
