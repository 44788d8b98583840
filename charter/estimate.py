"""`--dry-run`: what a run will take, from a pilot of real calls.

A few prompts, spread over the input, go through every stage. Tokens a prompt are measured; the total is their mean
times the number of prompts, with a 95 % range from the spread between prompts (Student's t). Time scales with the
tokens; the start of the engine is measured apart. A pilot that is smaller than an engine's batch overstates time: the
range's upper end is the pilot's own speed, and the table says so.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.stats

from charter.recipe import Recipe
from charter.run import STAGES
from charter.trial import TrialRow, try_prompts
from engine.cost import Usage, usage_of
from engine.duplicates import DuplicateFinder
from engine.inputs import read_prompts
from engine.records import Prompt, as_table


@dataclass(frozen=True)
class Range:
    """A total with its 95 % range."""

    value: float
    low: float
    high: float

    @classmethod
    def total(cls, samples: Sequence[float], count: int) -> Range:
        """`count` items like the sampled ones, summed. One sample alone gives no range: then it is 0 to twice that."""
        mean = sum(samples) / len(samples)
        if len(samples) < 2:
            return cls(mean * count, 0.0, 2 * mean * count)
        deviation = statistics.stdev(samples)
        half = float(scipy.stats.t.ppf(0.975, len(samples) - 1)) * deviation / math.sqrt(len(samples))
        return cls(mean * count, max(0.0, mean - half) * count, (mean + half) * count)


@dataclass(frozen=True)
class StageEstimate:
    """What one stage will take. Money is None where a model has no price. A stage whose pilot rows all failed has no
    estimate."""

    stage: str
    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    seconds: Range
    money: Range | None


@dataclass(frozen=True)
class Estimate:
    """What a run will take, and what the estimate rests on."""

    prompts: int
    pilot: int
    failed: int
    first_error: str
    start_seconds: float
    stages: tuple[StageEstimate, ...]
    unknown: tuple[str, ...]
    """Stages of which no pilot row came through."""


def spread_prompts(recipe: Recipe, count: int) -> tuple[list[Prompt], int]:
    """`count` distinct prompts at even distances over the input, and how many there are in all."""
    finder = DuplicateFinder(near_threshold=None)
    total = sum(1 for _ in finder.distinct(read_prompts(recipe.prompts)))
    total = min(total, recipe.limit or total)
    places = {round(place * (total - 1) / max(count - 1, 1)) for place in range(min(count, total))}
    distinct = DuplicateFinder(near_threshold=None).distinct(read_prompts(recipe.prompts))
    return [prompt for place, prompt in zip(range(total), distinct, strict=False) if place in places], total


def estimate(recipe: Recipe, pilot: int) -> Estimate:
    """Runs the pilot. Raises what opening the models raises."""
    prompts, total = spread_prompts(recipe, pilot)
    start = time.perf_counter()
    rows = list(try_prompts(recipe, prompts, together=True))
    start_seconds = time.perf_counter() - start - sum(row.seconds for row in rows)
    done: dict[str, list[TrialRow]] = {row.stage: [] for row in rows}
    errors = [row.error for row in rows if row.error is not None]
    for row in rows:
        done[row.stage] += [] if row.error else [row]
    return Estimate(
        prompts=total,
        pilot=len(prompts),
        failed=len(errors),
        first_error=f"{type(errors[0]).__name__}: {errors[0]}" if errors else "",
        start_seconds=start_seconds,
        stages=tuple(_stage_estimate(recipe, stage, finished, total) for stage, finished in done.items() if finished),
        unknown=tuple(stage for stage, finished in done.items() if not finished),
    )


def _stage_estimate(recipe: Recipe, stage: str, rows: Sequence[TrialRow], total: int) -> StageEstimate:
    usages = [usage_of(as_table(row.rows, STAGES[stage][0])) for row in rows]
    prices = {spec.model: spec.price for spec in recipe.models.values()}

    def over(name: str) -> Range:
        return Range.total([sum(getattr(usage, name) for usage in each.values()) for each in usages], total)

    def money(each: dict[tuple[str, str], Usage]) -> float | None:
        parts = [usage.money(prices[model]) for (_, model), usage in each.items()]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    costs = [money(each) for each in usages]
    known = [cost for cost in costs if cost is not None]
    return StageEstimate(
        stage=stage,
        calls=over("calls"),
        prompt_tokens=over("prompt_tokens"),
        completion_tokens=over("completion_tokens"),
        seconds=_seconds(rows, over("completion_tokens"), total),
        money=Range.total(known, total) if known and len(known) == len(costs) else None,
    )


def _seconds(rows: Sequence[TrialRow], completion_tokens: Range, total: int) -> Range:
    """The pilot's seconds a prompt times the prompts, as uncertain as the tokens are."""
    value = sum(row.seconds for row in rows) / len(rows) * total
    spread = completion_tokens.value or 1.0
    return Range(value, value * completion_tokens.low / spread, value * completion_tokens.high / spread)
