"""Stock phrases: word sequences that answers to many different prompts share.

What a policy that was optimised too far shows first (Bai et al. 2022, section 4.3): one sentence for every occasion.
Literal lists miss it, since the sentence differs from model to model; its document frequency across prompts does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
PHRASE_WORDS = 5
FEWEST_PROMPTS = 5
"""Fewer prompts than this make no stock phrase, whatever their share."""
ERROR_SHARE = 0.1
"""How far below the asked share the counting may forget, relative to it."""


def phrases(text: str) -> Iterator[str]:
    """The text's sequences of five words, without case, in their order."""
    words = [word.replace("’", "'") for word in WORDS.findall(text.casefold())]
    return (" ".join(words[start : start + PHRASE_WORDS]) for start in range(len(words) - PHRASE_WORDS + 1))


def stock_phrases(answers: Iterable[tuple[str, str]], share: float) -> dict[str, float]:
    """The phrases in answers to at least `share` of the prompts, and their shares.

    `answers` are (prompt's id, answer), the answers to one prompt in a row. Memory does not grow with the data: rare
    phrases are forgotten on the way (lossy counting, Manku and Motwani 2002), which can lower a share by a tenth of
    `share` at most.
    """
    counted: dict[str, int] = {}
    allowance: dict[str, int] = {}
    bucket = math.ceil(1 / (ERROR_SHARE * share))
    prompts, current, seen = 0, "", set[str]()
    for prompt, answer in answers:
        if prompt != current or not prompts:
            prompts, current, seen = prompts + 1, prompt, set()
            if prompts % bucket == 0:
                rare = [each for each, count in counted.items() if count + allowance[each] <= prompts // bucket]
                for each in rare:
                    del counted[each], allowance[each]
        for phrase in set(phrases(answer)) - seen:
            if phrase in counted:
                counted[phrase] += 1
            else:
                counted[phrase], allowance[phrase] = 1, prompts // bucket
        seen.update(phrases(answer))
    least = max(FEWEST_PROMPTS, (1 - ERROR_SHARE) * share * prompts)
    return {phrase: count / prompts for phrase, count in counted.items() if count >= least}
