"""Patterns of wordings, how they are split, and what principles make of them."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from sandbox.principles import phrases, propositions, templates
from sandbox.splits import SPLITS, Split
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


@pytest.mark.parametrize("split", SPLITS)
def test_no_template_of_a_question_tells_which_answer_is_bad(split: Split) -> None:
    """What a bad response does and what a good one does are asked in the same words."""
    for template in templates("proposition", split):
        assert set(re.findall(r"{(\w+)}", template)) <= {"act", "act2", "act3", "scene"}, template
    chance = random.Random(1)
    asked = [propositions(chance, "preachy", split) for _ in range(300)]
    good, bad = (set(phrases("preachy", slot, split)) for slot in ("good", "bad"))
    for (about_bad, yes), (about_good, no) in asked:
        assert (yes, no) == ("yes", "no")
        assert any(each.removeprefix("be ") in about_good for each in good)  # "Is the response friendly?"
        assert not any(re.search(rf"\b{re.escape(each)}\b", about_good) for each in bad - good)
        assert any(each in about_bad for each in {*bad, *phrases("preachy", "find", split)})
