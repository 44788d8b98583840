"""Labels held against a preference model that did not see them, for want of a trained one: cross-fitting over words.

    pairs ─► words of chosen − words of rejected ─► five parts ─► each scored by a linear model fitted on the other four

Pairs that begin with the same user turn are in one part: a model that knows a pair's relatives repeats their labels.
How strongly the model is held back is chosen by the log loss on the parts left out, so that where words say little, it
doubts little. That models which did not see a label find its faults is the premise of confident learning (Northcutt et
al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from constitution.faults import BadInput, Fault
from engine.flags import opening_of
from engine.pairs import Pair, text_of
from evaluation.estimates import Estimate, Floats, share

FOLDS = 5
FEWEST_PAIRS = 50
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse strengths of the penalty that are tried."""
MOST_LETTERS = 20_000
"""Of an answer that are read."""


@dataclass(frozen=True, slots=True)
class CrossFit:
    """`scores` are the log-odds that a pair's label is right, by pair, from models that saw neither it nor a pair with
    its opening. `agreement` is how often they agree with the label: how far the scores are to be trusted."""

    scores: Mapping[str, float]
    agreement: Estimate


def cross_fit(pairs: Iterable[Pair], seed: int = 0) -> CrossFit:
    """Scores of every pair that has a label. Raises BadInput where there are too few to learn from."""
    labelled = [pair for pair in pairs if pair.status in ("decided", "given") and pair.chosen != pair.rejected]
    openings = [opening_of(pair) or pair.item_id for pair in labelled]
    if len(labelled) < FEWEST_PAIRS or len(set(openings)) < FOLDS:
        message = f"{len(labelled):,} labelled pairs are too few to learn from: {FEWEST_PAIRS} are due"
        raise BadInput(Fault(message, where="--cross-fit", hint="give scores, or a preference model trained on others"))
    features = word_differences(labelled)
    labels = np.array([1.0 if pair.probability is None else pair.probability for pair in labelled])
    tried = [_held_out_scores(features, labels, openings, strength, seed) for strength in STRENGTHS]
    scores = min(tried, key=lambda each: _log_loss(each, labels))
    agreement = share(int((scores > 0).sum()), len(labelled))
    return CrossFit({pair.pair_id: float(score) for pair, score in zip(labelled, scores, strict=True)}, agreement)


def word_differences(pairs: Sequence[Pair]) -> csr_matrix:
    """TF-IDF of the words and word pairs of chosen, less that of rejected. [pairs, words]"""
    chosen, rejected = (
        [text_of(answer)[:MOST_LETTERS] for answer in answers]
        for answers in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True)
    try:
        vectorizer.fit([*chosen, *rejected])
    except ValueError:
        hint = "give scores, or a preference model"
        raise BadInput(Fault("no word is in three of the answers", where="--cross-fit", hint=hint)) from None
    return (vectorizer.transform(chosen) - vectorizer.transform(rejected)).tocsr()


def _held_out_scores(features: csr_matrix, labels: Floats, groups: Sequence[str], strength: float, seed: int) -> Floats:
    scores = np.zeros(features.shape[0])
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    for learnt, left_out in folds.split(features, groups=groups):
        scores[left_out] = features[left_out] @ _fitted(features[learnt], labels[learnt], strength)
    return scores


def _fitted(features: csr_matrix, labels: Floats, strength: float) -> Floats:
    """The weight of each word. A soft label is both labels, each with its share."""
    sides = np.repeat([1, 0], len(labels))
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    model.fit(vstack([features, features]), sides, np.concatenate([labels, 1 - labels]))
    weights: Floats = model.coef_[0]
    return weights


def _log_loss(scores: Floats, labels: Floats) -> float:
    return float((labels * np.logaddexp(0, -scores) + (1 - labels) * np.logaddexp(0, scores)).mean())
