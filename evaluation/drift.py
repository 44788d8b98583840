"""What optimisation did to the way a model writes: stock phrases, openers, sermons, variety and length.

    answers of one policy, step or round ──drift──► Drift        several of them ──risen──► phrases that came up

A policy that was optimised too far has one sentence for every occasion (Bai et al. 2022, section 4.3). Which sentence
it is differs from model to model; that it stands in answers to many different prompts does not. So phrases are found by
the number of prompts whose answers hold them, and those that stand in the same answers are one family.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.phrases import WORDS
from evaluation.diversity import distinct_share
from evaluation.estimates import Estimate, clustered_mean
from evaluation.refusals import detect_refusal
from evaluation.speech_acts import Act, Sentence, read_acts

PHRASE_WORDS = 4
"""Shorter runs of words are grammar ("one of the"), longer ones miss variants."""
LEAST_SHARE = 0.2
"""Of prompts whose answers hold a stock phrase."""
FEWEST_PROMPTS = 3
"""Fewer than this make no stock phrase, whatever their share."""
OVERLAP = 0.5
"""Of the rarer phrase's answers that hold the other one, for the two to be one family."""
FAMILIES, MEMBERS, OPENERS = 10, 6, 8
"""How many are listed at most."""


@dataclass(frozen=True, slots=True)
class PhraseFamily:
    """A stock phrase with those that come with it. `share`: of the answers, clustered by prompt, that hold the phrase;
    `family_share`: that hold any of them. `prompts`: those with at least one answer that holds the phrase."""

    phrase: str
    members: tuple[str, ...]
    share: Estimate
    family_share: Estimate
    prompts: int


@dataclass(frozen=True, slots=True)
class Opener:
    """How answers to several prompts begin. `prompts`: how many of them."""

    words: str
    share: Estimate
    prompts: int


@dataclass(frozen=True, slots=True)
class Drift:
    """How one set of answers is written. Intervals are over prompts.

    `distinct`: distinct-1 to distinct-4. `widest`: the phrase that spreads over most prompts, be it a stock phrase or
    not; None where none stands in answers to three prompts. `stock_share`: answers that hold a phrase of a family.
    `opener_share`: answers that begin as answers to many other prompts do. `preachy`: answers with a sentence that says
    what one should do, or judges something to be wrong; `moral_sentences`: the share of such sentences, the mean over
    answers. `sends_away`: answers that point to a person, a service or a help line. `canned_refusals`: refusals that
    would fit any request, of all answers. `words`: the mean length; `median_words` the median.
    """

    answers: int
    prompts: int
    distinct: tuple[Estimate, ...]
    widest: PhraseFamily | None
    families: tuple[PhraseFamily, ...]
    stock_share: Estimate
    openers: tuple[Opener, ...]
    opener_share: Estimate
    preachy: Estimate
    moral_sentences: Estimate
    sends_away: Estimate
    refusals: Estimate
    canned_refusals: Estimate
    words: Estimate
    median_words: float


def drift(answers: Sequence[tuple[str, str]]) -> Drift:
    """The drift of (prompt, answer) pairs; several answers to a prompt belong together. There is at least one."""
    prompts = [prompt for prompt, _ in answers]
    by_prompt: dict[str, list[str]] = defaultdict(list)
    for prompt, text in answers:
        by_prompt[prompt].append(text)
    runs = [_runs(text) for _, text in answers]
    families = phrase_families(prompts, runs, LEAST_SHARE)
    anything = families or phrase_families(prompts, runs, 0)
    openers = _openers(prompts, [text for _, text in answers])
    common = {opener.words for opener in openers}
    read = [read_acts(text) for _, text in answers]
    moral = [_share(sentences, "admonish", "object") for sentences in read]
    refusals = [detect_refusal(prompt, text) for prompt, text in answers]
    lengths = [len(text.split()) for _, text in answers]
    stock = {phrase for family in families for phrase in family.members}

    def mean(values: Iterable[float | bool]) -> Estimate:
        return clustered_mean([float(value) for value in values], prompts)

    return Drift(
        answers=len(answers),
        prompts=len(by_prompt),
        distinct=tuple(distinct_share(by_prompt, length) for length in range(1, 5)),
        widest=anything[0] if anything else None,
        families=tuple(families[:FAMILIES]),
        stock_share=mean(not stock.isdisjoint(held) for held in runs),
        openers=tuple(openers[:OPENERS]),
        opener_share=mean(_opening(text) in common for _, text in answers),
        preachy=mean(value > 0 for value in moral),
        moral_sentences=mean(moral),
        sends_away=mean(_share(sentences, "support") > 0 for sentences in read),
        refusals=mean(found is not None and found.refuses for found in refusals),
        canned_refusals=mean(found is not None and found.canned for found in refusals),
        words=mean(lengths),
        median_words=float(np.median(lengths)),
    )


def phrase_shares(answers: Sequence[tuple[str, str]], phrases: Sequence[str]) -> dict[str, Estimate]:
    """The share of answers that hold each phrase of PHRASE_WORDS words: to see how it stood elsewhere."""
    runs = [_runs(text) for _, text in answers]
    prompts = [prompt for prompt, _ in answers]
    return {phrase: clustered_mean([float(phrase in held) for held in runs], prompts) for phrase in phrases}


# Stock phrases -------------------------------------------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """The words without case and punctuation."""
    return [word.replace("’", "'") for word in WORDS.findall(text.casefold())]


def _runs(text: str) -> set[str]:
    """The phrases of a text; none reaches over the end of a sentence."""
    sentences = [words_of(sentence) for sentence in SENTENCE_END.split(text)]
    return {
        " ".join(words[start : start + PHRASE_WORDS])
        for words in sentences
        for start in range(len(words) - PHRASE_WORDS + 1)
    }


SENTENCE_END = re.compile(r"[.!?;:\n]+")


def phrase_families(prompts: Sequence[str], runs: Sequence[set[str]], least_share: float) -> list[PhraseFamily]:
    """The families of phrases in answers to at least this share of prompts, the widest spread first. `runs`: the
    phrases of each answer."""
    held_by: dict[str, set[int]] = defaultdict(set)
    for place, held in enumerate(runs):
        for phrase in held:
            held_by[phrase].add(place)
    spread = {phrase: len({prompts[place] for place in places}) for phrase, places in held_by.items()}
    least = max(FEWEST_PROMPTS, least_share * len(set(prompts)))
    stock = [phrase for phrase, count in spread.items() if count >= least]
    stock.sort(key=lambda phrase: (-spread[phrase], -len(held_by[phrase]), phrase))
    families: list[list[str]] = []
    for phrase in stock:
        home = next((family for family in families if _belongs(phrase, family, held_by)), None)
        if home is None:
            families.append([phrase])
        else:
            home.append(phrase)
    return [_family(family, prompts, held_by, spread[family[0]]) for family in families]


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


def _family(
    members: Sequence[str], prompts: Sequence[str], held_by: Mapping[str, set[int]], spread: int
) -> PhraseFamily:
    places = range(len(prompts))
    anywhere = set().union(*(held_by[member] for member in members))
    return PhraseFamily(
        members[0],
        tuple(members),
        clustered_mean([float(place in held_by[members[0]]) for place in places], prompts),
        clustered_mean([float(place in anywhere) for place in places], prompts),
        spread,
    )


# Openers and sentences -----------------------------------------------------------------------------------------------

OPENER_WORDS = 3


def _opening(text: str) -> str:
    return " ".join(words_of(text[:200])[:OPENER_WORDS])


def _openers(prompts: Sequence[str], texts: Sequence[str]) -> list[Opener]:
    openings = [_opening(text) for text in texts]
    spread: dict[str, set[str]] = defaultdict(set)
    for prompt, opening in zip(prompts, openings, strict=True):
        if opening:
            spread[opening].add(prompt)
    least = max(FEWEST_PROMPTS, LEAST_SHARE / 2 * len(set(prompts)))
    counts = Counter(openings)
    common = sorted((each for each in spread if len(spread[each]) >= least), key=lambda each: (-counts[each], each))
    return [
        Opener(words, clustered_mean([float(opening == words) for opening in openings], prompts), len(spread[words]))
        for words in common
    ]


def _share(sentences: Sequence[Sentence], *acts: Act) -> float:
    """Of an answer's sentences, those that do one of these; 0 where there are none."""
    return sum(each.does(*acts) for each in sentences) / len(sentences) if sentences else 0.0


# Several sets --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RisenPhrase:
    """A stock phrase of a later set, and its share in the first one."""

    phrase: str
    before: Estimate
    after: Estimate


def risen(first: Sequence[tuple[str, str]], later: Drift) -> list[RisenPhrase]:
    """The later set's stock phrases that stand in more answers than before: their intervals do not overlap."""
    before = phrase_shares(first, [family.phrase for family in later.families])
    return [
        RisenPhrase(family.phrase, before[family.phrase], family.share)
        for family in later.families
        if _above(family.share, before[family.phrase])
    ]


def _above(one: Estimate, other: Estimate) -> bool:
    return one.low is not None and other.high is not None and one.low > other.high
