"""What a run cost: tokens, seconds and money, by stage, step and model.

Counted from the calls that the finished rows carry, so the bill of a run that was killed and resumed is exact but for
the rows that were in flight. Time and energy come from `events.jsonl`. A step is respond, critique, revise, compare,
reason or proposition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from engine.backends.spec import ModelSpec, Price
from engine.progress import read_events
from engine.storage import Folder, StageStore


@dataclass
class Usage:
    """Tokens of one kind of call. `cached_tokens` are part of `prompt_tokens`."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reused: int = 0
    """Calls whose answers an earlier run had; they are in none of the other counts."""

    def money(self, price: Price | None) -> float | None:
        """In the price's currency; None where the model has no price."""
        if price is None:
            return None
        cached = price.prompt if price.cached is None else price.cached
        fresh = self.prompt_tokens - self.cached_tokens
        return (fresh * price.prompt + self.cached_tokens * cached + self.completion_tokens * price.completion) / 1e6


COUNTED = ("prompt_tokens", "cached_tokens", "completion_tokens")
SUMMED = ("calls", *COUNTED, "reused")


def usage_of(table: pa.Table) -> dict[tuple[str, str], Usage]:
    """Usage by (step, model name) of a table of any stage's rows. The rows stay in Arrow."""
    names = ("step", "model", "reused", *COUNTED)
    calls = pa.concat_tables(pa.table({name: array.field(name) for name in names}) for array in _calls(table))
    sums = calls.group_by(["step", "model", "reused"]).aggregate(
        [([], "count_all"), *((name, "sum") for name in COUNTED)]
    )
    found: dict[tuple[str, str], Usage] = {}
    for row in sums.to_pylist():
        usage = found.setdefault((row["step"], row["model"]), Usage())
        if row["reused"]:
            usage.reused = row["count_all"]
            continue
        usage.calls = row["count_all"]
        for name in COUNTED:
            setattr(usage, name, row[f"{name}_sum"])
    return found


def _calls(table: pa.Table) -> Iterator[pa.StructArray]:
    """Every call behind the rows; an answer that several pairs share is counted with one of them."""

    def column(name: str) -> Any:
        return table[name].combine_chunks()

    if "guided" in table.column_names:
        yield column("responses").flatten().field("call")
        yield column("guided").flatten().field("call")
        return
    if "calls" in table.column_names:
        yield column("calls").flatten()
        return
    if "votes" not in table.column_names:
        nested = [column("response"), column("critiques").flatten(), column("revisions").flatten()]
        for array in nested:
            yield array.field("call").drop_null()
        return
    yield column("votes").flatten().field("calls").flatten()
    yield column("checks").flatten().field("call").drop_null()
    first, second = column("response_a"), column("response_b")
    follows = pc.equal(second.field("sample"), pc.add(first.field("sample"), 1))
    yield second.field("call").filter(follows)
    yield first.field("call").filter(pc.and_(follows, pc.equal(first.field("sample"), 0)))


@dataclass(frozen=True, slots=True)
class Spent:
    """Time and energy of a stage or a training, over every start. None is "not readable": see engine/meter.py.

    `energy_of` names what the energy is that of: `gpus`, `processors`, both, or nothing.
    """

    wall_seconds: float
    gpu_seconds: float | None = None
    energy_wh: float | None = None
    energy_of: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As a bill holds it."""
        return {
            "wall_seconds": round(self.wall_seconds, 1),
            "gpu_seconds": self.gpu_seconds,
            "energy_wh": None if self.energy_wh is None else round(self.energy_wh, 4),
            "energy_of": list(self.energy_of),
        }


def spent(run: Folder, work: str) -> Spent:
    """What was spent on a stage, or on a run folder's training, by its `events.jsonl`."""
    events = read_events(run)
    seconds = sum(float(each["seconds"]) for each in events if each["event"] == "stage_left" and each["stage"] == work)
    metered = [each for each in events if each["event"] == "metered" and each["work"] == work]
    energy = {
        of: sum(each["energy_wh"][of] for each in metered)
        for of in ("gpus", "processors")
        if metered and all(each["energy_wh"][of] is not None for each in metered)
    }
    known = bool(metered) and all(each["gpu_seconds"] is not None for each in metered)
    return Spent(
        wall_seconds=seconds,
        gpu_seconds=sum(each["gpu_seconds"] for each in metered) if known else None,
        energy_wh=sum(energy.values()) if energy else None,
        energy_of=tuple(energy),
    )


def stage_cost(store: StageStore, models: Mapping[str, ModelSpec], took: Spent) -> dict[str, Any]:
    """The bill of one finished stage, as `cost.json` holds it."""
    prices = {spec.model: spec.price for spec in models.values()}
    sums: dict[tuple[str, str], Usage] = {}
    for table in store.tables():
        for key, usage in usage_of(table).items():
            total = sums.setdefault(key, Usage())
            for name in SUMMED:
                setattr(total, name, getattr(total, name) + getattr(usage, name))
    steps = [
        {"step": step, "model": model, **vars(usage), "money": usage.money(prices.get(model))}
        for (step, model), usage in sorted(sums.items())
    ]
    return {**took.as_json(), "steps": steps}
