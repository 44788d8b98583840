"""Ratings against evalica and by hand."""

from __future__ import annotations

import math
import random

import evalica
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from evaluation.elo import Game, Result, logistic, rate, result_of


def games(counts: dict[tuple[str, str], tuple[int, int, int]]) -> list[Game]:
    """Games by (first, second): wins, losses, ties; each on a prompt of its own."""
    found = []
    for (first, second), (wins, losses, ties) in counts.items():
        times: dict[Result, int] = {"first": wins, "second": losses, "tie": ties}
        results = [result for result, count in times.items() for _ in range(count)]
        found += [Game(f"{first}{second}{n}", first, second, result) for n, result in enumerate(results)]
    return found


def test_two_policies_by_hand() -> None:
    # 30 wins, 10 losses: odds of 3, so 400 · log10(3) = 190.85 points. Ties pull it in: 35 to 15 with ten of them.
    assert rate(games({("b", "a"): (30, 10, 0)}), "a").elo["b"].value == pytest.approx(190.85, abs=0.01)
    found = rate(games({("b", "a"): (30, 10, 10)}), "a")
    assert found.elo["b"].value == pytest.approx(400 * math.log10(35 / 15), abs=0.01)
    assert found.elo["a"].value == 0
    (pairing,) = found.pairings
    assert (pairing.wins, pairing.losses, pairing.ties) == (30, 10, 10)
    assert pairing.win_rate.value == pytest.approx(0.7)
    assert pairing.at_equal_length is None


def test_ratings_are_those_of_evalica() -> None:
    played = games({("a", "b"): (12, 20, 6), ("b", "c"): (9, 5, 2), ("a", "c"): (7, 11, 4), ("c", "d"): (3, 3, 1)})
    ours = rate(played, "a")
    winners = {"first": evalica.Winner.X, "second": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    theirs = evalica.bradley_terry(
        [game.first for game in played],
        [game.second for game in played],
        [winners[game.result] for game in played],
        tolerance=1e-12,
        limit=10_000,
    ).scores
    for name in "bcd":
        value = ours.elo[name].value
        assert value is not None
        assert value == pytest.approx(400 * math.log10(theirs[name] / theirs["a"]), abs=0.05)


def test_an_interval_covers_what_made_the_games_and_widens_where_prompts_repeat() -> None:
    draw = random.Random(1)
    results: list[Result] = ["first" if draw.random() < 0.75 else "second" for _ in range(300)]
    apart = rate([Game(str(n), "b", "a", result) for n, result in enumerate(results)], "a").elo["b"]
    repeated = [Game(str(n), "b", "a", result) for n, result in enumerate(results[:60]) for _ in range(5)]
    together = rate(repeated, "a").elo["b"]
    assert apart.low is not None
    assert apart.high is not None
    assert together.low is not None
    assert together.high is not None
    assert apart.low < 400 * math.log10(3) < apart.high
    assert together.high - together.low > 1.6 * (apart.high - apart.low), "60 prompts are behind it, not 300 games"


def test_length_is_controlled() -> None:
    # Longer answers win ten times in eleven, whoever wrote them; b is longer four times in five.
    played = []
    for n in range(500):
        b_longer = n % 5 != 0
        longer_wins = n % 11 != 3
        result: Result = "first" if b_longer == longer_wins else "second"
        played.append(Game(str(n), "b", "a", result, 200 if b_longer else 100, 100 if b_longer else 200))
    found = rate(played, "a")
    raw, level = found.elo["b"].value, (found.at_equal_length or {})["b"].value
    assert raw is not None
    assert level is not None
    assert raw > 140
    assert abs(level) < 40
    rated = found.pairings[0].at_equal_length
    assert rated is not None
    assert rated.value == pytest.approx(0.5, abs=0.06)


def test_lengths_that_decide_everything_leave_no_rating() -> None:
    played = [
        Game(str(n), "b", "a", "first" if n % 3 else "second", 2 if n % 3 else 1, 1 if n % 3 else 2) for n in range(60)
    ]
    assert rate(played, "a").at_equal_length is None


def test_the_regression_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(2)
    design = draw.normal(size=(300, 3))
    won = draw.random(300) < 1 / (1 + np.exp(-design @ [1.0, -0.5, 0.2]))
    weights = draw.integers(0, 4, size=(2, 300)).astype(float)
    ours = logistic(design, won.astype(float), weights)
    for row, weight in zip(ours, weights, strict=True):
        theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(design, won, weight).coef_[0]
        assert row == pytest.approx(theirs, abs=1e-4)


def test_a_policy_that_never_loses_has_a_finite_rating_that_says_so() -> None:
    found = rate(games({("b", "a"): (20, 0, 0)}), "a")
    assert found.bounded
    assert found.elo["b"].value == pytest.approx(400 * math.log10(20.5 / 0.5), abs=0.1)
    assert not rate(games({("b", "a"): (20, 1, 0)}), "a").bounded


def test_policies_that_did_not_meet_are_not_compared() -> None:
    with pytest.raises(ValueError, match="did not meet"):
        rate(games({("a", "b"): (1, 1, 0), ("c", "d"): (1, 1, 0)}), "a")
    with pytest.raises(ValueError, match="none of the games"):
        rate(games({("a", "b"): (1, 1, 0)}), "x")


def test_a_win_needs_both_orders() -> None:
    assert result_of(0.9, 0.6) == "first"
    assert result_of(0.1, 0.4) == "second"
    assert result_of(0.9, 0.4) == "tie"
    assert result_of(0.5, 0.9) == "tie"
    assert result_of(None, 0.9) is None
