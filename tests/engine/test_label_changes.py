"""Why a label differs between two runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from engine.label_changes import Label, LabelChange, contributions, label_changes
from tests.engine.rows_for_tests import constitution, principle

OLD = constitution(principle("kind"), principle("safe"), principle("plain"), principle("spare"))
NEW = constitution(principle("kind"), principle("safe"), principle("frank"), principle("spare"))


def label(principles: Mapping[str, float], hashes: Mapping[str, str] | None = None) -> Label:
    """What a run says of a pair; principles that only stand in `hashes` could not be read."""
    mean = sum(principles.values()) / len(principles) if principles else None
    asked = dict.fromkeys(principles, "text") if hashes is None else hashes
    return Label("pair", "file:1", mean is not None, mean, principles, asked)


def change(before: Label, after: Label) -> LabelChange:
    (found,) = label_changes({"pair": before}, [after], OLD, NEW)
    return found


def test_shares_add_up_to_the_change() -> None:
    before, after = {"kind": 0.9, "safe": 0.2}, {"kind": 0.8, "frank": 0.1, "spare": 0.4}
    difference = sum(after.values()) / 3 - sum(before.values()) / 2
    assert sum(contributions(before, after).values()) == pytest.approx(difference)


@pytest.mark.parametrize(
    ("before", "after", "kind", "principle_id", "cause"),
    [
        (label({"kind": 0.9}, {"kind": "old"}), label({"kind": 0.2}, {"kind": "new"}), "turned", "kind", "edited"),
        (label({"kind": 0.9}), label({"kind": 0.2}), "turned", "kind", "answered differently"),
        (label({"kind": 0.6}), label({"kind": 0.6, "frank": 0.1}), "turned", "frank", "added"),
        (label({"kind": 0.6, "plain": 0.1}), label({"kind": 0.6}), "turned", "plain", "removed"),
        (label({"kind": 0.6}), label({"kind": 0.6, "spare": 0.1}), "turned", "spare", "drawn"),
        (label({"kind": 0.6, "spare": 0.1}), label({"kind": 0.6}), "turned", "spare", "no longer drawn"),
        (label({"kind": 0.6}), label({}, {"kind": "text"}), "lost", "kind", "not read"),
        (label({}, {"kind": "text"}), label({"kind": 0.6}), "gained", "kind", "read"),
        (label({"kind": 0.9, "safe": 0.6}), label({"kind": 0.6, "safe": 0.6}), "moved", "kind", "answered differently"),
        (label({"kind": 0.9}), label({"kind": 0.85}), "same", "", ""),
    ],
)
def test_a_change_has_its_reason(before: Label, after: Label, kind: str, principle_id: str, cause: str) -> None:
    found = change(before, after)
    assert (found.kind, found.principle, found.cause) == (kind, principle_id, cause)


def test_the_reason_pulls_the_way_the_label_went() -> None:
    """One principle moved further, against the change."""
    before = label({"kind": 0.9, "safe": 0.3, "plain": 0.6})
    found = change(before, label({"kind": 0.2, "safe": 0.6, "plain": 0.3}))
    assert (found.kind, found.principle) == ("turned", "kind")
    assert found.share == pytest.approx(-0.7 / 3)
