"""How good is a judge? Its verdicts on cases that people have decided, counted.

cases ──pair_questions──► questions ──the judge──► verdicts ──pair_report──► PairReport
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import cohen_kappa_score

from constitution import Principle
from evaluation.calibration import Calibration, calibration
from evaluation.estimates import NOTHING, Estimate, clustered_mean, share
from evaluation.judge_cases import PairCase, QuestionCase
from evaluation.verdicts import Verdict
from prompts.rendering import PromptSet, Rendered

ORDERS = 2


@dataclass(frozen=True, slots=True)
class Floors:
    """What one gets without reading: the option shown first, the longer answer, the commonest class. None where it
    cannot be told."""

    always_first: Estimate
    choose_longer: Estimate
    commonest: Estimate


@dataclass(frozen=True, slots=True)
class PrincipleReport:
    """One principle. `decided`: both orders were read and prefer the same answer. `accuracy` is over those decided;
    `confidence` is the mean probability of the preferred answer, from 0.5 to 1, over all that were read in both orders.
    """

    principle_id: str
    accuracy: Estimate
    decided: Estimate
    confidence: Estimate


@dataclass(frozen=True, slots=True)
class PrincipleAgreement:
    """How often two principles prefer the same answer where both decide. `kappa` is Cohen's; None where one of them
    always says the same."""

    first: str
    second: str
    same: Estimate
    kappa: float | None


@dataclass(frozen=True, slots=True)
class PairReport:
    """A judge on pairs. Intervals are clustered by prompt.

    `accuracy`: the answer that people prefer has the higher label, the mean over principles and both orders; a tie is
    half right. `undecided` pairs, of which no principle was read in both orders, are left out of it.
    `better_shown_first`, `better_shown_second`: the same in one order alone; how far they are apart is position bias.
    `order_consistency`: of two orders under one principle, the same answer is preferred. `first_preferred`: of single
    votes, the answer shown first is. `mass` is the mean that the two options held; `low_mass` the share of votes that
    gave no verdict, mostly since they held too little.
    """

    pairs: int
    undecided: int
    accuracy: Estimate
    floors: Floors
    better_shown_first: Estimate
    better_shown_second: Estimate
    order_consistency: Estimate
    first_preferred: Estimate
    mass: Estimate
    low_mass: Estimate
    calibration: Calibration
    principles: tuple[PrincipleReport, ...]
    agreement: tuple[PrincipleAgreement, ...]

    @property
    def never_deciding(self) -> list[str]:
        """Principles that decided no pair at all, though the judge was read under them."""
        return [each.principle_id for each in self.principles if each.decided.n and each.decided.value == 0]

    @property
    def never_read(self) -> list[str]:
        """Principles under which the judge was read in both orders of no pair."""
        return [each.principle_id for each in self.principles if not each.decided.n]


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One option of a question with several: how often it was right, chosen, and both."""

    meaning: str
    recall: Estimate
    precision: Estimate


@dataclass(frozen=True, slots=True)
class QuestionReport:
    """A judge on lettered questions in their own words, asked once each. `confusion`: [right option][chosen option]."""

    questions: int
    unread: int
    accuracy: Estimate
    floors: Floors
    mass: Estimate
    calibration: Calibration
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, ...], ...]


# Pairs ---------------------------------------------------------------------------------------------------------------


def pair_questions(cases: Sequence[PairCase], principles: Sequence[Principle], asking: PromptSet) -> list[Rendered]:
    """Every case under every principle in both orders: the better answer first, then second."""
    return [
        asking.compare(case.messages, *answers, principle.comparison or "")
        for case in cases
        for principle in principles
        for answers in ((case.better, case.worse), (case.worse, case.better))
    ]


def pair_floors(cases: Sequence[PairCase]) -> Floors:
    """Of pairs. The first of two is right half the time where the order of a file means nothing."""
    prompts = [case.prompt for case in cases]
    known = all(case.better_first is not None for case in cases)
    return Floors(
        always_first=clustered_mean([float(case.better_first or 0) for case in cases], prompts) if known else NOTHING,
        choose_longer=clustered_mean([_longer(case) for case in cases], prompts),
        commonest=NOTHING,
    )


def _longer(case: PairCase) -> float:
    """1 where the better answer is longer, in characters, half where they are alike."""
    return 0.5 if len(case.better) == len(case.worse) else float(len(case.better) > len(case.worse))


def pair_report(cases: Sequence[PairCase], principles: Sequence[Principle], verdicts: Sequence[Verdict]) -> PairReport:
    """Counts the verdicts on `pair_questions` of the same cases and principles."""
    shape = (len(cases), len(principles), ORDERS)
    assert len(verdicts) == np.prod(shape), "one verdict a question"
    # [case, principle, order]: the probability of the better answer, not a number where it was not read
    better = np.asarray([_of_better(verdict, place % 2) for place, verdict in enumerate(verdicts)]).reshape(shape)
    by_principle = better.mean(axis=2)
    read = ~np.isnan(by_principle)
    labels = np.asarray(
        [row[kept].mean() if kept.any() else np.nan for row, kept in zip(by_principle, read, strict=True)]
    )
    prompts = [case.prompt for case in cases]
    decided: Mask = np.logical_or(np.all(better > 0.5, axis=2), np.all(better < 0.5, axis=2))
    votes_first = np.where(np.arange(ORDERS) == 0, better, 1 - better)
    kept = ~np.isnan(labels)
    confidence = np.abs(labels[kept] - 0.5) + 0.5
    certain = confidence > 0.5
    return PairReport(
        pairs=len(cases),
        undecided=int((~kept).sum()),
        accuracy=_right(labels, prompts),
        floors=pair_floors(cases),
        better_shown_first=_right(_mean_read(better[:, :, 0]), prompts),
        better_shown_second=_right(_mean_read(better[:, :, 1]), prompts),
        order_consistency=_by_prompt(decided, read, prompts),
        first_preferred=_by_prompt(votes_first > 0.5, ~np.isnan(better), prompts),
        mass=_mass(verdicts, [prompt for prompt in prompts for _ in range(len(verdicts) // len(cases))]),
        low_mass=_by_prompt(np.isnan(better), np.ones(shape, dtype=np.bool_), prompts),
        calibration=calibration(
            confidence[certain].tolist(),
            (labels[kept] > 0.5)[certain].tolist(),
            clusters=list(itertools.compress(itertools.compress(prompts, kept), certain)),
        ),
        principles=tuple(
            _principle(principle.id, by_principle[:, place], decided[:, place], prompts)
            for place, principle in enumerate(principles)
        ),
        agreement=tuple(
            _agreement(
                (principles[one].id, principles[other].id),
                by_principle[:, [one, other]],
                decided[:, [one, other]],
                prompts,
            )
            for one, other in itertools.combinations(range(len(principles)), 2)
        ),
    )


Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def _of_better(verdict: Verdict, place: int) -> float:
    return np.nan if verdict.probabilities is None else verdict.probabilities[place]


def _mean_read(values: Matrix) -> Matrix:
    """The mean of what was read of each case: [cases]."""
    return np.asarray([row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else np.nan for row in values])


def _right(labels: Matrix, prompts: Sequence[str]) -> Estimate:
    """How often the better answer has the higher label; a tie is half right, what was not read is left out."""
    scores = [
        (float(np.sign(label - 0.5) + 1) / 2, prompt)
        for label, prompt in zip(labels, prompts, strict=True)
        if label == label
    ]
    return clustered_mean([score for score, _ in scores], [prompt for _, prompt in scores])


def _by_prompt(holds: Mask, counted: Mask, prompts: Sequence[str]) -> Estimate:
    places = np.argwhere(counted)
    values = [float(holds[tuple(place)]) for place in places]
    return clustered_mean(values, [prompts[place[0]] for place in places])


def _mass(verdicts: Sequence[Verdict], clusters: Sequence[object]) -> Estimate:
    known = [
        (verdict.mass, str(cluster))
        for verdict, cluster in zip(verdicts, clusters, strict=True)
        if verdict.mass is not None
    ]
    return clustered_mean([mass for mass, _ in known], [cluster for _, cluster in known])


def _principle(principle_id: str, labels: Matrix, decided: Mask, prompts: Sequence[str]) -> PrincipleReport:
    read = ~np.isnan(labels)
    return PrincipleReport(
        principle_id,
        accuracy=_right(np.where(decided, labels, np.nan), prompts),
        decided=_by_prompt(decided, read, prompts),
        confidence=clustered_mean((np.abs(labels[read] - 0.5) + 0.5).tolist(), list(itertools.compress(prompts, read))),
    )


def _agreement(
    principles: tuple[str, str], labels: Matrix, decided: Mask, prompts: Sequence[str]
) -> PrincipleAgreement:
    both: Mask = np.asarray(decided.all(axis=1))
    one, other = (labels[both] > 0.5).T
    varies = len(set(one)) > 1 and len(set(other)) > 1
    kappa = float(cohen_kappa_score(one, other)) if varies else None
    same = clustered_mean((one == other).astype(np.float64).tolist(), list(itertools.compress(prompts, both)))
    return PrincipleAgreement(*principles, same, kappa)


# Questions -----------------------------------------------------------------------------------------------------------


def question_floors(cases: Sequence[QuestionCase]) -> Floors:
    """Of questions with the same options."""
    rights = [case.right for case in cases]
    commonest = max(set(rights), key=rights.count)
    return Floors(
        always_first=share(rights.count(0), len(rights)),
        choose_longer=NOTHING,
        commonest=share(rights.count(commonest), len(rights)),
    )


def question_report(cases: Sequence[QuestionCase], verdicts: Sequence[Verdict]) -> QuestionReport:
    """Counts the verdicts on questions with equally many options. Two likeliest options are no answer."""
    size = len(cases[0].letters)
    read = [(case.right, verdict) for case, verdict in zip(cases, verdicts, strict=True) if verdict.choice is not None]
    confusion = np.zeros((size, size), dtype=np.int64)
    for right, verdict in read:
        confusion[right, verdict.choice] += 1
    hits = [right == verdict.choice for right, verdict in read]
    return QuestionReport(
        questions=len(cases),
        unread=len(cases) - len(read),
        accuracy=share(sum(hits), len(hits)),
        floors=question_floors(cases),
        mass=_mass(verdicts, range(len(verdicts))),
        calibration=calibration([max(verdict.probabilities or ()) for _, verdict in read], hits),
        classes=tuple(
            ClassReport(
                meaning,
                recall=share(int(confusion[place, place]), int(confusion[place].sum())),
                precision=share(int(confusion[place, place]), int(confusion[:, place].sum())),
            )
            for place, meaning in enumerate(cases[0].meanings)
        )
        if len({case.meanings for case in cases}) == 1
        else (),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )
