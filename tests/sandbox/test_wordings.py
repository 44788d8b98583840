"""Patterns of wordings, and how they are split."""

from __future__ import annotations

import random
from collections import Counter

from sandbox.splits import SPLITS
from sandbox.wordings import expanded, wordings

LISTED = ("today", "tomorrow", "now", "(this|next|every) (week|month|year)", "(this|that) (week|day|night)")


def test_patterns_hold_every_combination() -> None:
    """In the order of the pattern; brackets without a bar are text."""
    assert expanded("(on|by) (Monday|Friday)") == ["on Monday", "on Friday", "by Monday", "by Friday"]
    assert expanded("at once (or so)") == ["at once (or so)"]


def test_a_wording_of_two_patterns_is_in_one_split() -> None:
    """ "this week" follows from both patterns: it may not be trained on by one and judged by the other."""
    held = [text for split in SPLITS for text in wordings(LISTED, "times", split, 0.2)]
    assert sorted(held) == sorted({text for pattern in LISTED for text in expanded(pattern)})


def test_a_pattern_is_drawn_as_often_as_four_written_wordings() -> None:
    """So that a pattern of a hundred wordings does not drown what was written by hand."""
    chance = random.Random(1)
    drawn = Counter(wordings(LISTED, "times", "train", 0.2).draw(chance) for _ in range(3000))
    assert 0.2 < drawn["today"] / 3000 + drawn["tomorrow"] / 3000 + drawn["now"] / 3000 < 0.35
