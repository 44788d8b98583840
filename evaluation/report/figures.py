"""`report.json`: every figure of a report as {value, low, high, n}. docs/report.md says what each is.

A rerun with the same seed gives the same file, but for what was measured with a clock or depends on what else ran:
MEASURED names those keys, and `repeatable` takes them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from evaluation.estimates import Estimate
from evaluation.report.content import (
    Cost,
    Costs,
    Elo,
    Labels,
    Policies,
    PolicyFigures,
    PreferenceModel,
    Provenance,
    Ratings,
    Report,
    Revisions,
    Stress,
    WinRate,
)
from evaluation.scorecard import Scorecard

SCHEMA_VERSION = 1
MEASURED = frozenset({"wall_seconds", "gpu_seconds", "energy_wh", "energy_of", "cached_tokens", "money", "command"})
"""Keys, wherever they stand, whose values may differ between two runs of the same recipe and seed."""
DIGITS = 6


def figures(report: Report) -> dict[str, Any]:
    """The report as plain values, ready for JSON. What the run has not done is left out."""
    parts: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": report.name,
        "sandbox": report.sandbox,
        **(_policies(report.policies) if report.policies else {}),
        **(_ratings(report.ratings) if report.ratings else {}),
        "scorecards": {card.policy: _scorecard(card) for card in report.scorecards},
        "robustness": [_stress(each) for each in report.robustness],
        "revisions": _revisions(report.revisions),
        "labels": _labels(report.labels),
        "preference_models": {model.axis: _preference_model(model) for model in report.preference_models},
        "drift": {each.source: _estimates(each) | {"phrase": each.phrase} for each in report.drift},
        "trainings": {
            each.step: {curve.name: [list(point) for point in curve.points] for curve in each.curves}
            for each in report.trainings
        },
        "set_aside": dict(report.failed),
        "cost": _costs(report.costs),
        "provenance": _provenance(report.provenance),
    }
    return {name: part for name, part in parts.items() if part not in ({}, [], None)}


def repeatable(value: Any) -> Any:
    """A report's values without those that a clock or the machine's other work decide."""
    if isinstance(value, Mapping):
        return {key: repeatable(inner) for key, inner in value.items() if key not in MEASURED}
    return [repeatable(inner) for inner in value] if isinstance(value, list) else value


def figure(estimate: Estimate) -> dict[str, float | int | None]:
    """One figure."""
    return {name: _rounded(getattr(estimate, name)) for name in ("value", "low", "high")} | {"n": estimate.n}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _estimates(record: Any) -> dict[str, Any]:
    """The figures among a record's fields, by their names."""
    found = {item.name: getattr(record, item.name) for item in fields(record)}
    return {name: figure(value) for name, value in found.items() if isinstance(value, Estimate)}


def _policies(policies: Policies) -> dict[str, Any]:
    found = {each.policy: _policy(each) for each in policies.figures}
    for each in policies.sampled:
        found[each.policy][f"at_temperature_{each.temperature:g}"] = _policy(each)
    return {
        "policies": found,
        "evaluation": {
            "judge": policies.judge,
            "meaning": policies.meaning,
            "prompts": dict(policies.prompts),
            "changes": {name: figure(each) for name, each in policies.changes.items()},
        },
    }


def _policy(each: PolicyFigures) -> dict[str, Any]:
    outcomes = {group: dict(counts) for group, counts in each.outcomes.items()}
    return {"temperature": each.temperature, **_estimates(each), "outcomes": outcomes}


def _ratings(ratings: Ratings) -> dict[str, Any]:
    elo: dict[str, dict[str, Any]] = {}
    for axis in ratings.axes:
        for name, each in axis.ratings.items():
            elo.setdefault(name, {})[axis.axis] = figure(each)
        for name, each in axis.at_equal_length.items():
            elo[name][f"{axis.axis}_at_equal_length"] = figure(each)
    comparisons = {
        "judge": ratings.judge,
        "judge_trained": ratings.trained,
        "unrated": dict(ratings.unrated),
        **{axis.axis: _comparisons(axis) for axis in ratings.axes},
    }
    return {"elo": elo, "comparisons": comparisons}


def _comparisons(axis: Elo) -> dict[str, Any]:
    return {
        "anchor": axis.anchor,
        "bounded": axis.bounded,
        "unread": axis.unread,
        "win_rates": [_win_rate(each) for each in axis.win_rates],
        "by_principle": [_win_rate(each) for each in axis.by_principle],
    }


def _win_rate(each: WinRate) -> dict[str, Any]:
    principle = {"principle": each.principle} if each.principle else {}
    return {"first": each.first, "second": each.second, **principle, "win_rate": figure(each.rate)}


def _scorecard(card: Scorecard) -> list[dict[str, Any]]:
    return [
        {
            "vector": cell.vector,
            "category": cell.category,
            "counts": "false refusals" if cell.category in card.harmless else "harmful answers",
            "rate": figure(cell.rate),
            "unscored": cell.unscored,
        }
        for cell in card.cells
    ]


def _stress(each: Stress) -> dict[str, Any]:
    return {
        "policy": each.policy,
        "attack": each.attack,
        "how": each.how,
        "figures": {
            name: {
                "plain": figure(found.first),
                "under_attack": figure(found.second),
                "difference": figure(found.difference),
                "only_plain": found.only_first,
                "only_under_attack": found.only_second,
                "p_value": _rounded(found.p_value),
            }
            for name, found in each.figures.items()
        },
    }


def _revisions(revisions: tuple[Revisions, ...]) -> dict[str, Any]:
    """The first revise stage by itself, and all of them by step."""
    by_step = {each.step: _revised(each) for each in revisions}
    return {**next(iter(by_step.values())), "by_step": by_step} if by_step else {}


def _revised(each: Revisions) -> dict[str, Any]:
    harmful = [figure(at.harmful) for at in each.rounds if at.harmful is not None]
    return {
        "rows": each.rows,
        **({"judge": each.judge, "harmful_rate_by_round": harmful} if harmful else {}),
        "changed_rate_by_round": [figure(at.changed) for at in each.rounds if at.changed is not None],
        "words_by_round": [figure(at.words) for at in each.rounds],
        "no_fault_rate": figure(each.no_fault),
        "flags": dict(each.flags),
    }


def _labels(labels: tuple[Labels, ...]) -> dict[str, Any]:
    """All labels together first: the collector puts them there where there are several stages."""
    by_step = {each.step: _labelled(each) for each in labels}
    return {**next(iter(by_step.values())), "by_step": by_step} if by_step else {}


def _labelled(each: Labels) -> dict[str, Any]:
    return {
        "pairs": each.pairs,
        "judge": each.judge,
        "statuses": dict(each.statuses),
        **_estimates(each),
        "reliability": [{"predicted": _rounded(at.predicted), "held": figure(at.held)} for at in each.reliability],
        "histogram": list(each.histogram),
        "principles": {at.principle: {"pairs": at.pairs, **_estimates(at)} for at in each.principles},
    }


def _preference_model(model: PreferenceModel) -> dict[str, Any]:
    return {
        "step": model.step,
        "pairs": model.pairs,
        **_estimates(model),
        "reliability": [{"predicted": _rounded(at.predicted), "held": figure(at.held)} for at in model.reliability],
        "accuracy_by_bin": {name: figure(each) for name, each in model.by_bin.items()},
    }


def _costs(costs: Costs) -> dict[str, Any]:
    """Counts and costs are plain numbers: they are exact."""
    total = costs.total()
    found: dict[str, Any] = {**_cost(total), "currency": costs.currency}
    found["by_stage"] = {each.step: _cost(each) for each in costs.by_step}
    shares = {"per_thousand_pairs": per_thousand_pairs(costs), "per_point": per_point(costs)}
    return found | {name: part for name, part in shares.items() if part is not None}


def _cost(cost: Cost) -> dict[str, Any]:
    counted = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "trained_tokens")
    return {
        "tokens": cost.tokens,
        **{name: getattr(cost, name) for name in counted},
        "wall_seconds": _rounded(cost.wall_seconds),
        "gpu_seconds": _rounded(cost.gpu_seconds),
        "energy_wh": _rounded(cost.energy),
        "energy_of": list(cost.energy_of),
        "money": _rounded(cost.money),
    }


def per_thousand_pairs(costs: Costs) -> dict[str, float | None] | None:
    """What a thousand labelled pairs took; None where none were labelled."""
    return _per(costs.total(costs.labelling), 1000 / costs.pairs) if costs.pairs else None


def per_point(costs: Costs) -> dict[str, float | None] | None:
    """What each percent of the harmful prompts took that is no longer answered harmfully; None where that is not known,
    or no harm was removed."""
    return _per(costs.total(), 1 / costs.points) if costs.points and costs.points > 0 else None


def _per(cost: Cost, share: float) -> dict[str, float | None]:
    def scaled(value: float | None) -> float | None:
        return None if value is None else round(value * share, 3)

    return {
        "tokens": scaled(cost.tokens),
        "wall_seconds": scaled(cost.wall_seconds),
        "gpu_seconds": scaled(cost.gpu_seconds),
        "energy_wh": scaled(cost.energy),
        "money": scaled(cost.money),
    }


def _provenance(provenance: Provenance) -> dict[str, Any]:
    return {
        "command": provenance.command,
        "seed": provenance.seed,
        "constitutions": [_plain(each) for each in provenance.constitutions],
        "models": [_plain(each) for each in provenance.models],
        "versions": dict(provenance.versions),
    }


def _plain(record: Any) -> dict[str, Any]:
    values = {item.name: getattr(record, item.name) for item in fields(record)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
