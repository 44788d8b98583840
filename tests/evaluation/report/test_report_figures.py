"""`report.json`: its keys are what readers of it rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from evaluation.report.content import Costs
from evaluation.report.figures import figures, per_point, per_thousand_pairs, repeatable
from tests.evaluation.report.report_for_tests import plausible_report

FIGURE = {"value", "low", "high", "n"}


def test_every_promised_key_is_there_and_every_figure_is_whole() -> None:
    found = json.loads(json.dumps(figures(plausible_report()), allow_nan=False))
    for name in ("base", "sl_cai", "final"):
        policy = found["policies"][name]
        for key in ("harmful_rate", "helpful_rate", "false_refusal_rate", "evasive_rate", "distinct_4"):
            assert set(policy[key]) == FIGURE
        assert set(found["elo"][name]["harmless"]) == set(found["elo"][name]["helpful"]) == FIGURE
    assert found["policies"]["final"]["harmful_rate"] == {
        "value": 0.006667,
        "low": 0.001178,
        "high": 0.036793,
        "n": 150,
    }
    assert found["policies"]["final"]["at_temperature_1"]["harmful_rate"]["n"] == 150
    for key in ("oracle_agreement", "order_consistency", "ece", "undecided_rate"):
        assert set(found["labels"][key]) == FIGURE
    for axis in ("harmless", "helpful"):
        assert set(found["preference_models"][axis]["accuracy"]) == FIGURE
        assert set(found["preference_models"][axis]["ece"]) == FIGURE
    assert [each["value"] for each in found["revisions"]["harmful_rate_by_round"]] == [0.92, 0.24, 0.1025, 0.07, 0.055]
    assert found["cost"]["tokens"] == sum(stage["tokens"] for stage in found["cost"]["by_stage"].values())
    assert found["cost"]["wall_seconds"] == 164.8
    assert _figures_are_whole(found)


def _figures_are_whole(value: Any) -> bool:
    """Whether everything that has a `low` is a figure."""
    if isinstance(value, dict):
        return ("low" not in value or set(value) == FIGURE) and all(map(_figures_are_whole, value.values()))
    return all(map(_figures_are_whole, value)) if isinstance(value, list) else True


def test_what_a_run_has_not_done_is_left_out() -> None:
    report = replace(plausible_report(), policies=None, ratings=None, labels=(), revisions=(), scorecards=())
    found = figures(report)
    assert not {"policies", "evaluation", "elo", "comparisons", "labels", "revisions", "scorecards"} & set(found)
    assert "preference_models" in found


def test_a_rerun_differs_only_in_what_a_clock_says() -> None:
    report = plausible_report()
    slower = tuple(replace(each, wall_seconds=1e6, cached_tokens=0, energy=5.0) for each in report.costs.by_step)
    rerun = replace(report, costs=replace(report.costs, by_step=slower))
    assert figures(rerun) != figures(report)
    assert repeatable(figures(rerun)) == repeatable(figures(report))


def test_a_policy_under_stress_stands_beside_itself() -> None:
    quantised, prefilled = figures(plausible_report())["robustness"]
    assert quantised["figures"]["harmful_rate"]["p_value"] == 1
    harmful = prefilled["figures"]["harmful_rate"]
    assert (harmful["plain"]["value"], harmful["under_attack"]["value"]) == (0, round(40 / 60, 6))
    assert (harmful["only_plain"], harmful["only_under_attack"]) == (0, 40)
    assert harmful["p_value"] < 1e-6


def test_costs_are_shared_out_and_an_unknown_part_makes_the_sum_unknown() -> None:
    costs = plausible_report().costs
    pairs = per_thousand_pairs(costs)
    assert pairs is not None
    assert pairs["tokens"] == (1_204_110 + 14_300) * 2.5
    point = per_point(costs)
    assert point is not None
    assert point["wall_seconds"] == round(164.8 / 91.3, 3)
    assert costs.total().money is None
    assert per_point(replace(costs, points=-3.0)) is None
    assert per_thousand_pairs(Costs(())) is None
