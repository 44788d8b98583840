"""The drawing of the loop and the places in charts, as values."""

from __future__ import annotations

from evaluation.estimates import Estimate, share
from evaluation.report.charts import Axis, frontier, stacked, told_estimate
from evaluation.report.content import Step
from evaluation.report.drawing import depths, draw, needed_edges
from tests.evaluation.report.report_for_tests import plausible_report


def test_a_step_stands_behind_all_that_it_builds_on() -> None:
    steps = plausible_report().steps
    depth = depths(steps)
    assert all(depth[used] < depth[step.name] for step in steps for used in step.uses)
    assert depth["harmless_labels"] == depth["helpful_labels"] == 3


def test_arrows_that_follow_from_others_are_not_drawn() -> None:
    edges = needed_edges(plausible_report().steps)
    assert ("sl_cai", "final") not in edges
    assert ("base", "evaluation") not in edges
    assert {("final", "evaluation"), ("pm_harmless", "final"), ("revisions", "sl_cai")} <= set(edges)


def test_boxes_do_not_overlap_lying_or_standing() -> None:
    for lying in (True, False):
        drawn = draw(plausible_report().steps, lying=lying)
        places = [(box.x, box.y) for box in drawn.boxes]
        for number, (x, y) in enumerate(places):
            assert 0 <= x <= drawn.width - drawn.wide
            assert 0 <= y <= drawn.height - drawn.tall
            for other in places[:number]:
                assert abs(x - other[0]) >= drawn.wide or abs(y - other[1]) >= drawn.tall
    assert len(draw([Step("alone", "run", ())], lying=True).boxes) == 1


def test_an_axis_has_round_ticks_and_keeps_what_is_outside_at_its_end() -> None:
    axis = Axis(0, 1, 10, 110, percent=True)
    assert [tick.label for tick in axis.ticks] == ["0", "20", "40", "60", "80", "100"]
    assert (axis.at(0.5), axis.at(-3), axis.at(7)) == (60, 10, 110)
    assert [tick.label for tick in Axis(-300, 200, 0, 100).ticks] == ["−300", "−200", "−100", "0", "100", "200"]
    assert [tick.label for tick in Axis(0, 2, 0, 100, whole=True).ticks] == ["0", "1", "2"]


def test_better_policies_are_up_and_to_the_right() -> None:
    drawn = frontier(
        ["worse", "better"],
        [share(50, 100), share(90, 100)],
        [share(40, 100), share(95, 100)],
        ("x", "y"),
        percent=True,
    )
    worse, better = drawn.marks
    assert better.x > worse.x
    assert better.y < worse.y
    assert better.across[0] < better.x < better.across[1]
    assert len(drawn.arrows) == 1
    unknown = Estimate(None, None, None, 0)
    assert len(frontier(["a", "b"], [unknown, share(1, 2)], [share(1, 2)] * 2, ("x", "y"), percent=True).marks) == 1


def test_bars_are_cut_by_share() -> None:
    pieces = stacked({"right": 3, "refused": 1}, ("right", "other", "refused"), 400)
    assert [(each.kind, each.count) for each in pieces] == [("right", 3), ("refused", 1)]
    assert pieces[1].x == 300
    assert stacked({}, ("right",), 400) == []


def test_estimates_are_told_with_their_interval() -> None:
    assert told_estimate(share(5, 10), percent=True) == "50.0 % (23.7 % to 76.3 %, n = 10)"
