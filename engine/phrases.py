"""Phrases that answers to many different prompts share, and how varied texts are.

What a policy that was optimised too far shows first is one sentence for every occasion (Bai et al. 2022, section 4.3).
Literal lists miss it, since the sentence differs from model to model; the number of prompts whose answers hold it does
not. Phrases that come together in the same answers are one family.

    phrases_of(text) ─┬─► families, widest   all answers at hand: drift reports, the watch over a training
                      └─► stock_phrases      data of any size: the flags of pairs
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

WORDS = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?;:\n]+")
PHRASE_WORDS = 4
"""Shorter runs of words are grammar ("one of the"), longer ones miss variants."""
LONG_PHRASE_WORDS = 5
"""Where a phrase of few prompts counts, four words are still grammar."""
FEWEST_PROMPTS = 3
"""Fewer than this make no phrase that spreads, whatever their share."""
FEWEST_OF_MANY = 5
"""The same where a phrase of few prompts counts."""
OVERLAP = 0.5
"""Of the rarer phrase's answers that hold the other one, for the two to be one family."""
ERROR_SHARE = 0.1
"""How far below the asked share the counting may forget, relative to it."""


def words_of(text: str) -> list[str]:
    """The words without case and punctuation; an apostrophe inside belongs to its word."""
    return [word.replace("’", "'") for word in WORDS.findall(text.casefold())]


def phrases_of(text: str, length: int = PHRASE_WORDS) -> Iterator[str]:
    """The text's runs of `length` words in their order; none reaches over the end of a sentence."""
    for sentence in SENTENCE_END.split(text):
        words = words_of(sentence)
        yield from (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))


# Answers at hand -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Family:
    """A phrase and those that come with it. `answers` are the places of the answers that hold the phrase,
    `family_answers` of those that hold any member; `prompts` counts those with an answer that holds the phrase."""

    phrase: str
    members: tuple[str, ...]
    answers: frozenset[int]
    family_answers: frozenset[int]
    prompts: int


def families(prompts: Sequence[str], said: Sequence[set[str]], least_share: float) -> list[Family]:
    """The families of phrases in answers to at least this share of prompts, the widest spread first. `said`: the
    phrases of each answer."""
    held_by, spread = _spread(prompts, said)
    least = max(FEWEST_PROMPTS, least_share * len(set(prompts)))
    found: list[list[str]] = []
    for phrase in sorted(
        (each for each, count in spread.items() if count >= least), key=_widest_first(held_by, spread)
    ):
        home = next((family for family in found if _belongs(phrase, family, held_by)), None)
        if home is None:
            found.append([phrase])
        else:
            home.append(phrase)
    return [
        Family(
            members[0],
            tuple(members),
            frozenset(held_by[members[0]]),
            frozenset().union(*(held_by[member] for member in members)),
            spread[members[0]],
        )
        for members in found
    ]


def widest(prompts: Sequence[str], said: Sequence[set[str]]) -> Family | None:
    """The phrase that spreads over most prompts, by itself; None where none stands in answers to three of them."""
    held_by, spread = _spread(prompts, said)
    phrase = min(spread, key=_widest_first(held_by, spread), default="")
    if spread.get(phrase, 0) < FEWEST_PROMPTS:
        return None
    answers = frozenset(held_by[phrase])
    return Family(phrase, (phrase,), answers, answers, spread[phrase])


def _spread(prompts: Sequence[str], said: Sequence[set[str]]) -> tuple[Mapping[str, set[int]], Mapping[str, int]]:
    """By phrase: the answers that hold it, and the number of their prompts."""
    held_by: defaultdict[str, set[int]] = defaultdict(set)
    for place, held in enumerate(said):
        for phrase in held:
            held_by[phrase].add(place)
    return held_by, {phrase: len({prompts[place] for place in places}) for phrase, places in held_by.items()}


def _widest_first(held_by: Mapping[str, set[int]], spread: Mapping[str, int]) -> Callable[[str], tuple[int, int, str]]:
    return lambda phrase: (-spread[phrase], -len(held_by[phrase]), phrase)


def _belongs(phrase: str, family: Sequence[str], held_by: Mapping[str, set[int]]) -> bool:
    """Whether it mostly stands in answers that hold a member with which it shares a piece."""
    return any(
        len(held_by[phrase] & held_by[member]) >= OVERLAP * min(len(held_by[phrase]), len(held_by[member]))
        and _share_a_piece(phrase, member)
        for member in family
    )


def _share_a_piece(one: str, other: str) -> bool:
    """Whether two phrases share two words in a row."""
    pairs = [set(itertools.pairwise(words)) for words in (one.split(), other.split())]
    return not pairs[0].isdisjoint(pairs[1])


# Data of any size ----------------------------------------------------------------------------------------------------


def stock_phrases(answers: Iterable[tuple[str, str]], share: float) -> dict[str, float]:
    """The long phrases in answers to at least `share` of the prompts, and their shares.

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
        held = set(phrases_of(answer, LONG_PHRASE_WORDS))
        for phrase in held - seen:
            if phrase in counted:
                counted[phrase] += 1
            else:
                counted[phrase], allowance[phrase] = 1, prompts // bucket
        seen |= held
    least = max(FEWEST_OF_MANY, (1 - ERROR_SHARE) * share * prompts)
    return {phrase: count / prompts for phrase, count in counted.items() if count >= least}


# Variety -------------------------------------------------------------------------------------------------------------


def runs_of(text: str, length: int) -> Iterator[tuple[str, ...]]:
    """Every run of `length` words, as distinct-n counts them: words are what stands between white space."""
    words = text.split()
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))


def distinct(texts: Iterable[str], length: int = 4) -> float | None:
    """Distinct-n (Li et al. 2016): different runs of n words as a share of all. It falls with the number of texts, so
    compare equal numbers. None without any run."""
    found = Counter(run for text in texts for run in runs_of(text, length))
    return len(found) / found.total() if found else None
