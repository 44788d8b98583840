"""What a run cost: tokens, seconds and money, by stage, step and model.

Counted from the calls that the finished rows carry, so the bill of a run that was killed and resumed is exact but for
the rows that were in flight. Wall time comes from `events.jsonl`. A step is respond, critique, revise, compare,
reason or proposition.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.spec import ModelSpec, Price
from engine.records import Comparison, RevisedRow, from_row
from engine.rows import calls_in
from engine.storage import Folder, StageStore


@dataclass
class Usage:
    """Tokens of one kind of call. `cached_tokens` are part of `prompt_tokens`."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def money(self, price: Price | None) -> float | None:
        """In the price's currency; None where the model has no price."""
        if price is None:
            return None
        cached = price.prompt if price.cached is None else price.cached
        fresh = self.prompt_tokens - self.cached_tokens
        return (fresh * price.prompt + self.cached_tokens * cached + self.completion_tokens * price.completion) / 1e6


def usage_of(rows: Iterable[RevisedRow | Comparison]) -> dict[tuple[str, str], Usage]:
    """Usage by (step, model name)."""
    sums: dict[tuple[str, str], Usage] = {}
    for row in rows:
        for call in calls_in(row):
            usage = sums.setdefault((call.step, call.model), Usage())
            usage.calls += 1
            usage.prompt_tokens += call.prompt_tokens
            usage.cached_tokens += call.cached_tokens
            usage.completion_tokens += call.completion_tokens
    return sums


def stage_cost(store: StageStore, models: Mapping[str, ModelSpec], wall_seconds: float) -> dict[str, Any]:
    """The bill of one finished stage, as `cost.json` holds it."""
    prices = {spec.model: spec.price for spec in models.values()}
    sums: dict[tuple[str, str], Usage] = {}
    for table in store.tables():
        for key, usage in usage_of(from_row(store.record, row) for row in table.to_pylist()).items():
            total = sums.setdefault(key, Usage())
            for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens"):
                setattr(total, name, getattr(total, name) + getattr(usage, name))
    steps = [
        {"step": step, "model": model, **vars(usage), "money": usage.money(prices.get(model))}
        for (step, model), usage in sorted(sums.items())
    ]
    return {"wall_seconds": round(wall_seconds, 1), "steps": steps}


def wall_seconds(run: Folder, stage: str) -> float:
    """Seconds that a stage was worked on, over every start of the run."""
    if not run.exists("events.jsonl"):
        return 0.0
    events = (json.loads(line) for line in run.read("events.jsonl").decode().splitlines())
    return sum(
        float(event["seconds"]) for event in events if event["event"] == "stage_left" and event["stage"] == stage
    )
