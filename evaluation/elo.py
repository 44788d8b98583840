"""Ratings of policies from a judge's comparisons of their answers to the same prompts.

    both orders of a pair ──game_of──► Game ──rate──► Ratings: Elo, raw and at equal length; win rates

Bradley–Terry by maximum likelihood, in Elo units: 400 points are odds of 10 to 1, a tie is half a win and half a loss.
A win counts only where both orders agree; all else is a tie. Intervals are bootstraps over prompts, since the games on
one prompt belong together.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse.csgraph import connected_components

from evaluation.estimates import Estimate, Floats, bounds, cluster_numbers, clustered_mean, resampled_weights

ELO = 400 / math.log(10)
"""Points for one unit of log-odds."""

Result = Literal["first", "second", "tie"]


@dataclass(frozen=True, slots=True)
class Game:
    """One comparison of two policies' answers. Lengths are in words or tokens, the same for all games."""

    prompt: str
    first: str
    second: str
    result: Result
    first_length: int = 0
    second_length: int = 0


def result_of(first_shown_first: float | None, first_shown_second: float | None) -> Result | None:
    """What both orders say together. The arguments are the probability that the first answer is better, with it as (A)
    and as (B). None where one of them was not read."""
    if first_shown_first is None or first_shown_second is None:
        return None
    if first_shown_first > 0.5 and first_shown_second > 0.5:
        return "first"
    if first_shown_first < 0.5 and first_shown_second < 0.5:
        return "second"
    return "tie"


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two policies' games. `win_rate` is the first one's, ties half; `at_equal_length` what the logistic regression
    of wins on the log ratio of lengths gives where the ratio is 1 (Lee et al. 2023), None as in Ratings."""

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    win_rate: Estimate
    at_equal_length: Estimate | None


@dataclass(frozen=True, slots=True)
class Ratings:
    """Elo by policy; `anchor` has 0, and no interval. `at_equal_length`: what is left where the longer answer has no
    advantage; None where lengths are not known, never differ, or decide all by themselves.

    `bounded`: policies whose ratings would be infinite, since one group of them never lost to the others. A draw
    between every two policies that met is then added.
    """

    anchor: str
    elo: dict[str, Estimate]
    at_equal_length: dict[str, Estimate] | None
    bounded: bool
    pairings: tuple[Pairing, ...]


def rate(games: Sequence[Game], anchor: str, seed: int = 0) -> Ratings:
    """Ratings of all policies in the games. Raises ValueError where `anchor` did not play, or not all can be compared
    with it."""
    policies = list(dict.fromkeys(name for game in games for name in (game.first, game.second)))
    if anchor not in policies:
        raise ValueError(f"{anchor} is in none of the games; these are: {', '.join(policies) or 'none'}")
    table = _Table(games, [anchor, *(name for name in policies if name != anchor)])
    if connected_components(table.met, directed=False)[0] > 1:
        raise ValueError("there are policies that did not meet, not even through others: they cannot be compared")
    draws = resampled_weights(table.prompts, seed)
    return Ratings(
        anchor=anchor,
        elo=table.ratings(draws),
        at_equal_length=table.ratings_at_equal_length(draws),
        bounded=table.bounded(np.ones(table.prompts)),
        pairings=tuple(_pairings(games, seed)),
    )


class _Table:
    """The games as arrays: who played whom on which prompt, what came of it, and the log ratio of their lengths."""

    def __init__(self, games: Sequence[Game], policies: Sequence[str]) -> None:
        self.policies = policies
        number = {name: place for place, name in enumerate(policies)}
        self.first = np.asarray([number[game.first] for game in games])
        self.second = np.asarray([number[game.second] for game in games])
        self.score = np.asarray([SCORE[game.result] for game in games])
        self.prompt = cluster_numbers([game.prompt for game in games])
        self.prompts = int(self.prompt.max()) + 1
        self.ratio = np.asarray([log_ratio(game) for game in games])
        self.met = self._matrix(np.ones(len(games)))
        self.games_of = [int(((self.first == place) | (self.second == place)).sum()) for place in range(len(policies))]

    def _matrix(self, weights: Floats) -> Floats:
        matrix = np.zeros((len(self.policies), len(self.policies)))
        np.add.at(matrix, (self.first, self.second), weights)
        return matrix

    def bounded(self, prompt_weights: Floats) -> bool:
        """Whether some policies never lost to the others: the likelihood then grows without end (Ford 1957)."""
        weights = prompt_weights[self.prompt]
        beaten = self._matrix(weights * self.score) + self._matrix(weights * (1 - self.score)).T
        return bool(connected_components(beaten > 0, directed=True, connection="strong")[0] > 1)

    def ratings(self, draws: Floats) -> dict[str, Estimate]:
        """Elo by policy with its interval. `draws`: [resamples, prompts]."""
        return self._estimates(self._fit(np.vstack([np.ones(self.prompts), draws]), lengths=False))

    def ratings_at_equal_length(self, draws: Floats) -> dict[str, Estimate] | None:
        """The same of answers of equal length; None where lengths do not differ, or decide all there is to decide."""
        if not np.any(self.ratio != 0):
            return None
        fits = self._fit(np.vstack([np.ones(self.prompts), draws]), lengths=True)
        return self._estimates(fits) if np.abs(fits[0]).max() < ENDLESS else None

    def _estimates(self, fits: Floats) -> dict[str, Estimate]:
        value, *drawn = np.pad(fits[:, : len(self.policies) - 1], ((0, 0), (1, 0))) * ELO
        found = {self.policies[0]: Estimate(0.0, None, None, self.games_of[0])}
        for place, name in enumerate(self.policies[1:], start=1):
            low, high = bounds(np.asarray(drawn)[:, place]) if self.prompts > 1 else (None, None)
            found[name] = Estimate(float(value[place]), low, high, self.games_of[place])
        return found

    def _fit(self, draws: Floats, *, lengths: bool) -> Floats:
        """Log-odds of all policies but the first, then what lengths count: [draws, policies − 1 (+ 1)]."""
        extra = np.argwhere(np.triu(self.met + self.met.T, 1))
        first, second = np.append(self.first, extra[:, 0]), np.append(self.second, extra[:, 1])
        drawn_game = np.asarray([self.bounded(weights) for weights in draws], dtype=np.float64)
        weights = np.hstack([draws[:, self.prompt], np.tile(drawn_game[:, None], len(extra))])
        rows = np.arange(len(first))
        design = np.zeros((len(first), len(self.policies) + 1))
        design[rows, first] += 1
        design[rows, second] -= 1
        design[: len(self.ratio), -1] = self.ratio
        score = np.append(self.score, np.full(len(extra), 0.5))
        return logistic(design[:, 1:] if lengths else design[:, 1:-1], score, weights)


SCORE: dict[Result, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


def log_ratio(game: Game) -> float:
    """The logarithm of the first answer's length over the second's; 0 where one is not known."""
    if not game.first_length or not game.second_length:
        return 0.0
    return math.log(game.first_length / game.second_length)


NEWTON_STEPS = 50
STEEPEST = 30.0
"""Log-odds beyond which a fit is not followed."""
ENDLESS = 10.0
"""Log-odds beyond which a fit has no end: the lengths alone tell wins from losses."""


def logistic(design: Floats, score: Floats, weights: Floats) -> Floats:
    """Logistic regressions on scores in [0, 1], without intercept or penalty, by Newton's method.

    design [rows, columns], score [rows], weights [draws, rows]; returns coefficients [draws, columns]. All draws of a
    bootstrap are fitted at once, which is some hundred times faster than one by one.
    """
    # Equal rows are one row with a weight: games without lengths are as few as there are pairs of policies.
    kinds, place = np.unique(np.column_stack([design, score]), axis=0, return_inverse=True)
    design, score = kinds[:, :-1], kinds[:, -1]
    total = np.zeros((len(weights), len(kinds)))
    np.add.at(total.T, place.reshape(-1), weights.T)
    found = np.zeros((len(weights), design.shape[1]))
    ridge = 1e-9 * np.eye(design.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(found @ design.T, -STEEPEST, STEEPEST)))
        gradient = (total * (score - chance)) @ design
        curvature = np.einsum("br,ri,rj->bij", total * chance * (1 - chance), design, design, optimize=True) + ridge
        step = np.clip(np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0], -2, 2)
        found = np.clip(found + step, -STEEPEST, STEEPEST)
        if np.abs(step).max() < 1e-9:
            break
    return found


def _pairings(games: Sequence[Game], seed: int) -> list[Pairing]:
    names = list(dict.fromkeys(name for game in games for name in (game.first, game.second)))
    found = []
    for first, second in itertools.combinations(names, 2):
        played = [
            game if game.first == first else _turned(game)
            for game in games
            if {game.first, game.second} == {first, second}
        ]
        if played:
            found.append(_pairing(first, second, played, seed))
    return found


def _turned(game: Game) -> Game:
    results: dict[Result, Result] = {"first": "second", "second": "first", "tie": "tie"}
    return Game(game.prompt, game.second, game.first, results[game.result], game.second_length, game.first_length)


def _pairing(first: str, second: str, games: Sequence[Game], seed: int) -> Pairing:
    score = np.asarray([SCORE[game.result] for game in games])
    ratio = np.asarray([log_ratio(game) for game in games])
    counts = Counter(game.result for game in games)
    level = None
    if np.any(ratio != 0) and 0 < score.mean() < 1:
        prompt = cluster_numbers([game.prompt for game in games])
        draws = resampled_weights(int(prompt.max()) + 1, seed)
        weights = np.vstack([np.ones(len(games)), draws[:, prompt]])
        fits = logistic(np.column_stack([np.ones(len(games)), ratio]), score, weights)
        if np.abs(fits[0]).max() < ENDLESS:
            value, *drawn = 1 / (1 + np.exp(-fits[:, 0]))
            low, high = bounds(np.asarray(drawn)) if draws.shape[1] > 1 else (None, None)
            level = Estimate(float(value), low, high, len(games))
    return Pairing(
        first=first,
        second=second,
        wins=counts["first"],
        losses=counts["second"],
        ties=counts["tie"],
        win_rate=clustered_mean(score.tolist(), [game.prompt for game in games], seed),
        at_equal_length=level,
    )
