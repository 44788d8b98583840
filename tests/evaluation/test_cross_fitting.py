"""Cross-fitting: labels that words speak against are doubted, by models that did not see them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from constitution.faults import BadInput
from engine.pairs import Pair
from evaluation.cross_fitting import cross_fit
from tests.engine.test_flags import asked, pair, said

TURNED = {5, 17, 60}


def labelled(number: int) -> Pair:
    """Chosen declines and rejected complies, but for a few that are turned round."""
    answers = said(f"I will not do that, number {number}"), said(f"Sure thing, {number}")
    chosen, rejected = reversed(answers) if number in TURNED else answers
    return replace(pair(number), prompt=asked(f"Do {number}"), chosen=chosen, rejected=rejected)


def test_turned_labels_have_the_lowest_scores() -> None:
    fitted = cross_fit([labelled(number) for number in range(80)])
    doubted = sorted(fitted.scores, key=lambda name: fitted.scores[name])[: len(TURNED)]
    assert set(doubted) == {labelled(number).pair_id for number in TURNED}
    assert max(fitted.scores[name] for name in doubted) < -1
    assert fitted.agreement.value == pytest.approx(77 / 80)


def test_a_pair_is_scored_by_models_that_saw_nothing_of_its_opening() -> None:
    """Every opening has words of its own: who learns from another pair with the same opening would know the label."""
    pairs = [
        replace(labelled(4 * group + number), prompt=asked(f"Opening {group}"))
        for group in range(20)
        for number in range(4)
    ]
    own = [
        replace(each, chosen=said(f"yes word{n // 4}"), rejected=said("no"))
        if n // 4 % 2
        else replace(each, chosen=said("no"), rejected=said(f"yes word{n // 4}"))
        for n, each in enumerate(pairs)
    ]
    agreement = cross_fit(own).agreement.value
    assert agreement is not None
    assert agreement < 0.7, "the label is only in words that no other opening has"


def test_soft_labels_are_learnt_as_they_are() -> None:
    certain, unsure = (
        cross_fit([replace(labelled(number), probability=probability, status="decided") for number in range(6, 160)])
        for probability in (1.0, 0.55)
    )
    name = labelled(8).pair_id
    assert 0 < unsure.scores[name] < 0.5 < certain.scores[name]


def test_too_few_labels_and_no_words_are_refused() -> None:
    with pytest.raises(BadInput, match="10 labelled pairs are too few"):
        cross_fit([labelled(number) for number in range(10)])
    unlike = [
        replace(
            pair(n),
            prompt=asked(f"p{n}"),
            chosen=said(f"a{n}"),
            rejected=said(f"b{n}"),
        )
        for n in range(60)
    ]
    with pytest.raises(BadInput, match="no word is in three"):
        cross_fit(unlike)
