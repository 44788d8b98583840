"""What the steps of a run folder took: tokens, seconds, energy and money."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from charter.report_logs import log_lines
from charter.report_parts import ASKING, Part
from charter.training import TRAINING
from engine.cost import spent
from evaluation.report.content import Cost, Costs, Evaluation, Labels


def costs_of(parts: Sequence[Part], labels: Sequence[Labels], evaluation: Evaluation | None, *, single: bool) -> Costs:
    by_step = []
    for part in parts:
        stages = _stage_costs(part)
        if single and stages:
            by_step += [_cost(name, [bill]) for name, bill in stages.items()]
        elif stages:
            by_step.append(_cost(part.name, list(stages.values())))
        if part.kind not in ASKING:
            by_step.append(_training_cost(part))
    labelling = [part.name for part in parts if part.kind == "run" and part.recipe.compare]
    if single and labelling:
        labelling = ["03_compare"]
    change = evaluation.policies.changes.get("harmful_rate") if evaluation else None
    return Costs(
        by_step=tuple(by_step),
        currency=_currency(parts),
        pairs=labels[0].statuses.get("decided", 0) if labels else 0,
        labelling=tuple(labelling),
        points=-100 * change.value if change is not None and change.value is not None else None,
    )


def _stage_costs(part: Part) -> dict[str, Any]:
    if not part.folder.exists("cost.json"):
        return {}
    found: dict[str, Any] = part.folder.read_json("cost.json")
    return found


def _cost(name: str, bills: Sequence[Mapping[str, Any]]) -> Cost:
    steps = [step for bill in bills for step in bill["steps"]]
    money = [step["money"] for step in steps]
    of = {tuple(bill.get("energy_of", ())) for bill in bills}  # a sum of unlike energies says nothing
    return Cost(
        name,
        calls=sum(step["calls"] for step in steps),
        prompt_tokens=sum(step["prompt_tokens"] for step in steps),
        cached_tokens=sum(step["cached_tokens"] for step in steps),
        completion_tokens=sum(step["completion_tokens"] for step in steps),
        wall_seconds=sum(bill["wall_seconds"] for bill in bills),
        gpu_seconds=_known(bill.get("gpu_seconds") for bill in bills),
        energy=_known(bill.get("energy_wh") for bill in bills) if len(of) == 1 else None,
        energy_of=next(iter(of)) if len(of) == 1 else (),
        money=sum(money) if money and None not in money else None,
    )


def _known(values: Iterable[float | None]) -> float | None:
    """The sum; None where one is not known."""
    found = list(values)
    known = [each for each in found if each is not None]
    return sum(known) if found and len(known) == len(found) else None


def _training_cost(part: Part) -> Cost:
    """Tokens of a pass, as often as it was made; the seconds between its last start and its end."""
    passes = float(part.manifest.get("passes", 1.0))
    events = log_lines(part.folder, "events.jsonl")
    started = [each["time"] for each in events if each["event"] == "training_started"]
    ended = [each["time"] for each in events if each["event"] == "training_ended"]
    seconds = None
    if started and ended:
        seconds = (datetime.fromisoformat(ended[-1]) - datetime.fromisoformat(started[-1])).total_seconds()
    used = spent(part.folder, TRAINING)
    return Cost(
        part.name,
        trained_tokens=round(passes * part.manifest["data"]["tokens"]),
        wall_seconds=seconds,
        gpu_seconds=used.gpu_seconds,
        energy=used.energy_wh,
        energy_of=used.energy_of,
    )


def _currency(parts: Sequence[Part]) -> str:
    prices = [
        spec.price.currency
        for part in parts
        if part.kind == "run"
        for spec in part.recipe.models.values()
        if spec.price is not None
    ]
    return prices[0] if prices else ""
