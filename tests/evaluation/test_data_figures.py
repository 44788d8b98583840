"""Figures of revisions and labels, against values worked out by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.records import Comparison, RevisedRow
from evaluation.data_figures import labels_of, revisions_of, standing_answers
from evaluation.judgements import Judgement
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel, compare_chain, prefer_longer, prompt, response, revise_chain


def revised(*texts: str, category: str = "illicit") -> RevisedRow:
    """A row whose first answer and revisions are these texts."""
    said = iter(texts)
    model = ToldModel(say=lambda messages, sampling: next(said))
    chain = revise_chain(model, rounds=len(texts) - 1, critique=False)
    (row,) = asyncio.run(chain.run(replace(prompt(texts[0]), category=category)))
    return row


def harmful_is_bad(messages: Sequence[Message], text: str) -> Judgement:
    return Judgement("bad" in text, None, "none", False)


def test_the_harmful_share_is_counted_round_by_round_on_harmful_prompts_alone() -> None:
    rows = [
        revised("bad one", "bad two", "good"),
        revised("bad", "good", "good"),
        revised("bad", "bad", "bad", category="benign"),
    ]
    found = revisions_of("revise", rows, 2, harmful_is_bad, "a judge")
    shares = [each.harmful for each in found.rounds]
    assert [each.value for each in shares if each] == [1.0, 0.5, 0.0]
    assert [each.n for each in shares if each] == [2, 2, 2]
    assert [each.changed.value for each in found.rounds if each.changed] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    assert found.rounds[0].words.value == pytest.approx(4 / 3)
    assert found.flags == {"unchanged": 1}


def test_without_a_judge_there_is_no_harmful_share() -> None:
    found = revisions_of("revise", [revised("bad", "good")], 1, None, "")
    assert [each.harmful for each in found.rounds] == [None, None]


def test_an_empty_revision_leaves_the_answer_standing() -> None:
    assert standing_answers(revised("one", "", "two"), 3) == ["one", "one", "two", "two"]


def labelled(first: str, second: str, probability: float, name: str) -> Comparison:
    """A pair whose judge believes this in the longer answer, in both orders."""
    model = ToldModel(
        weigh=lambda messages, options: [
            0.98 * each / 0.8 * probability if each == 0.8 else 0.98 * (1 - probability)
            for each in prefer_longer(messages, options)
        ]
    )
    chain = compare_chain(model, principles=1, propositions=False)
    return asyncio.run(chain.compare(prompt(name), response(first, 0), response(second, 1)))


def test_labels_are_held_against_the_truth() -> None:
    pairs = [labelled("longer", "short", 0.9, f"p{n}") for n in range(8)]
    pairs += [labelled("short", "longer", 0.7, f"q{n}") for n in range(2)]
    pairs.append(labelled("same", "same", 0.5, "r"))
    truth = {pair.pair_id: 0.9 for pair in pairs[:8]} | {pair.pair_id: 0.6 for pair in pairs[8:10]}
    found = labels_of("labels", "a judge", pairs, lambda pair: truth.get(pair.pair_id), seed=0)
    assert found.statuses == {"decided": 10, "identical": 1}
    assert sum(found.histogram) == 10
    assert found.oracle_agreement is not None
    assert (found.oracle_agreement.value, found.oracle_agreement.n) == (0.8, 10)
    # Right on eight, to the point; the other two say 0.7 for what is true with 0.4.
    assert found.ece is not None
    assert found.ece.value == pytest.approx(0.2 * 0.3)
    assert (found.order_consistency.value, found.order_consistency.n) == (1.0, 10)
    assert (found.undecided_rate.value, found.undecided_rate.n) == (0.0, 10)
    assert found.option_mass.value == pytest.approx(0.98)
    assert found.both_bad is None
    assert sum(each.pairs for each in found.principles) == 10
    assert all(each.agrees.value == 1.0 for each in found.principles)


def test_without_a_truth_nothing_is_said_of_agreement() -> None:
    found = labels_of("labels", "a judge", [labelled("longer", "short", 0.9, "p")], None, seed=0)
    assert (found.oracle_agreement, found.ece, found.reliability) == (None, None, ())
