"""What optimisation did to the way a model writes: stock phrases, openers, sermons, variety and length.

    answers of one policy, step or round ──drift──► Drift        several of them ──risen──► phrases that came up

A policy that was optimised too far has one sentence for every occasion (Bai et al. 2022, section 4.3). Which sentence
it is differs from model to model; that it stands in answers to many different prompts does not. So phrases are found by
the number of prompts whose answers hold them, and those that stand in the same answers are one family.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.phrases import FEWEST_PROMPTS, Family, families, phrases_of, widest, words_of
from evaluation.diversity import distinct_share
from evaluation.estimates import Estimate, clustered_mean
from evaluation.refusals import detect_refusal
from evaluation.speech_acts import Act, Sentence, read_acts

LEAST_SHARE = 0.2
"""Of prompts whose answers hold a stock phrase."""
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
    said = [set(phrases_of(text)) for _, text in answers]
    stock = families(prompts, said, LEAST_SHARE)
    leading = stock[0] if stock else widest(prompts, said)
    openers = _openers(prompts, [text for _, text in answers])
    common = {opener.words for opener in openers}
    read = [read_acts(text) for _, text in answers]
    moral = [_share(sentences, "admonish", "object") for sentences in read]
    refusals = [detect_refusal(prompt, text) for prompt, text in answers]
    lengths = [len(text.split()) for _, text in answers]
    members = {phrase for family in stock for phrase in family.members}

    def mean(values: Iterable[float | bool]) -> Estimate:
        return clustered_mean([float(value) for value in values], prompts)

    return Drift(
        answers=len(answers),
        prompts=len(by_prompt),
        distinct=tuple(distinct_share(by_prompt, length) for length in range(1, 5)),
        widest=_measured(leading, prompts) if leading else None,
        families=tuple(_measured(family, prompts) for family in stock[:FAMILIES]),
        stock_share=mean(not members.isdisjoint(held) for held in said),
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


def _measured(family: Family, prompts: Sequence[str]) -> PhraseFamily:
    def share(held: Collection[int]) -> Estimate:
        return clustered_mean([float(place in held) for place in range(len(prompts))], prompts)

    return PhraseFamily(
        family.phrase, family.members, share(family.answers), share(family.family_answers), family.prompts
    )


def phrase_shares(answers: Sequence[tuple[str, str]], phrases: Sequence[str]) -> dict[str, Estimate]:
    """The share of answers that hold each phrase: to see how it stood elsewhere."""
    said = [set(phrases_of(text)) for _, text in answers]
    prompts = [prompt for prompt, _ in answers]
    return {phrase: clustered_mean([float(phrase in held) for held in said], prompts) for phrase in phrases}


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
