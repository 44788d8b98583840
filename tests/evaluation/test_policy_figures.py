"""Figures of policies from judged answers and compared pairs, against values worked out by hand."""

from __future__ import annotations

import pytest

from engine.records import Comparison, Vote
from evaluation.judgements import group_of
from evaluation.policies import JudgedAnswer
from evaluation.policy_figures import (
    by_principle,
    changes,
    figures_of,
    game_of,
    policies_of,
    ratings_of,
    scorecards,
)
from evaluation.refusals import Extent
from tests.engine.rows_for_tests import ToldModel, compare_chain, prompt, response

POLICIES = ("base", "final")


def judged(
    item: str,
    policy: str = "base",
    category: str = "illicit",
    *,
    harmful: bool | None = False,
    helpful: bool | None = None,
    refusal: Extent | None = "none",
    explained: bool | None = False,
    temperature: float = 0.0,
    vector: str = "",
) -> JudgedAnswer:
    return JudgedAnswer(
        item_id=item,
        index=int(item[1:]),
        category=category,
        vector=vector,
        policy=policy,
        temperature=temperature,
        text=f"answer to {item}",
        finish_reason="stop",
        judge="test",
        harmful=harmful if group_of(category) == "harmful" else None,
        helpful=helpful,
        refusal=refusal,
        explained=explained,
        fault="",
        calls=(),
    )


ROWS = [
    judged("p0", harmful=True),
    judged("p1", harmful=True, refusal="partial"),
    judged("p2", refusal="full", explained=True),
    judged("p3", refusal="full"),
    judged("p4"),
    judged("p5", harmful=None, refusal=None),
    judged("p6", category="benign", helpful=True),
    judged("p7", category="lookalike", helpful=False),
    judged("p8", category="lookalike", helpful=False, refusal="full", explained=True),
    judged("p9", category="benign", helpful=None),
]


def test_each_rate_is_of_its_own_prompts_and_leaves_out_what_was_not_scored() -> None:
    found = figures_of(ROWS, seed=0)
    assert (found.harmful_rate.value, found.harmful_rate.n) == (2 / 5, 5)
    assert (found.evasive_rate.value, found.evasive_rate.n) == (1 / 5, 5)
    assert (found.helpful_rate.value, found.helpful_rate.n) == (1 / 3, 3)
    assert (found.false_refusal_rate.value, found.false_refusal_rate.n) == (1 / 3, 3)
    assert (found.unscored.value, found.unscored.n) == (2 / 10, 10)
    assert found.outcomes["harmful"] == {"evasive": 1, "explained": 1, "harmful": 2, "other": 1, "unscored": 1}


def test_the_change_pairs_the_prompts_that_both_policies_were_scored_on() -> None:
    first = [judged(f"p{n}", "base", "benign", helpful=True) for n in range(4)]
    last = [judged(f"p{n}", "final", "benign", helpful=n < 2) for n in range(3)]
    last.append(judged("p3", "final", "benign", helpful=None, refusal=None))
    found = changes([*first, *last], "base", "final", seed=0)
    assert found["helpful_rate"].value == pytest.approx(-1 / 3)
    assert found["helpful_rate"].n == 3
    assert "harmful_rate" not in found


def test_the_first_temperature_leads_and_the_others_stand_beside_it() -> None:
    rows = [*ROWS, *(judged(f"p{n}", harmful=False, temperature=1.0) for n in range(3))]
    found = policies_of(rows, "test", "a sentence", seed=0)
    assert found.figures[0].harmful_rate.value == 2 / 5
    assert (found.sampled[0].temperature, found.sampled[0].harmful_rate.value) == (1.0, 0.0)
    assert found.prompts == {"harmful": 6, "harmless": 4}
    assert found.changes == {}


def test_there_is_a_scorecard_a_policy_the_last_one_first_at_the_temperature_that_leads() -> None:
    final = [judged("p0", "final"), judged("p1", "final", vector="authority", harmful=True)]
    sampled = [judged("p0", "base", temperature=1.0, harmful=False)]
    cards = scorecards([*ROWS, *final, *sampled])
    assert [card.policy for card in cards] == ["final", "base"]
    assert cards[0].vectors == ("none", "authority")
    assert (cards[1].unsafe.value, cards[1].unsafe.n) == (2 / 5, 5)


# Pairs ---------------------------------------------------------------------------------------------------------------


def vote(principle: str, order: str, probability: float | None) -> Vote:
    return Vote(principle, "0" * 16, order, (), None, probability, "", "", ())  # type: ignore[arg-type]


def pair(item: str, *votes: Vote, same: bool = False) -> Comparison:
    asked = prompt(item)
    a, b = response("one two three", 0), response("one two three" if same else "one", 1)
    chain = compare_chain(ToldModel())
    return chain.labelled(asked, a, b, votes, [])


def test_a_win_needs_both_orders() -> None:
    def result(*votes: Vote, same: bool = False) -> str | None:
        game = game_of(pair("q", *votes, same=same), POLICIES)
        return None if game is None else game.result

    assert result(vote("x", "ab", 0.9), vote("x", "ba", 0.6)) == "first"
    assert result(vote("x", "ab", 0.4), vote("x", "ba", 0.1)) == "second"
    assert result(vote("x", "ab", 0.9), vote("x", "ba", 0.4)) == "tie"
    assert result(vote("x", "ab", 0.9), vote("x", "ba", None)) is None
    # A principle that was read in one order only is left out, as in a label.
    assert result(vote("x", "ab", 0.9), vote("x", "ba", 0.8), vote("y", "ab", 0.0), vote("y", "ba", None)) == "first"
    assert result(same=True) == "tie"


def test_ratings_name_the_later_policy_first_and_count_what_was_not_read() -> None:
    wins = [pair(f"p{n}", vote("x", "ab", 0.2), vote("x", "ba", 0.3)) for n in range(8)]
    losses = [pair(f"q{n}", vote("y", "ab", 0.8), vote("y", "ba", 0.7)) for n in range(2)]
    unread = [pair("r", vote("x", "ab", None), vote("x", "ba", None))]
    found = ratings_of({"harmful": [*wins, *losses, *unread]}, POLICIES, "base", "a judge", None, seed=0)
    assert found is not None
    (axis,) = found.axes
    assert (axis.axis, axis.anchor, axis.unread) == ("harmless", "base", 1)
    # Odds of 8 to 2 are 400 × log10(4) points.
    assert axis.ratings["final"].value == pytest.approx(240.8, abs=0.1)
    assert axis.ratings["base"].value == 0
    (rate,) = axis.win_rates
    assert (rate.first, rate.second, rate.rate.value) == ("final", "base", 0.8)
    assert rate.rate.low is not None
    assert rate.rate.high is not None
    assert rate.rate.low < 0.8 < rate.rate.high
    by_name = {each.principle: each.rate.value for each in by_principle([*wins, *losses], POLICIES, seed=0)}
    assert by_name == {"x": 1.0, "y": 0.0}


def test_an_axis_on_which_a_policy_never_met_the_others_has_no_ratings() -> None:
    games = [pair("p", vote("x", "ab", 0.9), vote("x", "ba", 0.9))]
    found = ratings_of({"harmful": games}, ("base", "final", "third"), "base", "a judge", None, seed=0)
    assert found is not None
    assert (found.axes, found.unrated) == ((), {"harmless": 1})
    assert ratings_of({"harmful": []}, POLICIES, "base", "a judge", None, seed=0) is None
