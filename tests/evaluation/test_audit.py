"""What an audit says of principles whose votes are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from engine.pairs import Pair
from evaluation.audit import PLAIN_FEATURES, audit_pairs, principle_sides
from tests.engine.test_flags import pair, said, vote


def voted(number: int, labels: Mapping[str, tuple[float | None, float | None]], **columns: Any) -> Pair:
    """A decided pair whose principles gave these probabilities of chosen, in either order."""
    votes = tuple(
        vote(name, order, probability)
        for name, orders in labels.items()
        for order, probability in zip(("ab", "ba"), orders, strict=True)
    )
    plain = replace(pair(number), votes=votes, status="decided", probability=0.6)
    return replace(plain, **columns)


def test_a_side_is_taken_where_both_orders_agree() -> None:
    labels = {"sure": (0.9, 0.6), "against": (0.2, 0.4), "by place": (0.9, 0.3), "unread": (0.9, None)}
    assert principle_sides(voted(1, labels).votes) == {"sure": 1, "against": -1, "by place": 0}


def test_an_audit_names_what_explains_the_labels_and_what_is_redundant() -> None:
    pairs = [
        voted(
            number,
            {
                "right": (0.9, 0.9),
                "echo": (0.8, 0.8),
                "wrong": (0.3, 0.3),
                "half": (0.7, 0.7) if number % 2 else (0.7, 0.3),
            },
        )
        for number in range(40)
    ]
    audit = audit_pairs([*pairs, replace(pair(99), status="undecided")], {})
    found = {each.name: each for each in audit.principles}
    assert audit.pairs == audit.made_of_votes == 40
    assert (found["right"].strength, found["wrong"].strength) == (1.0, -1.0)
    assert found["half"].coverage.value == pytest.approx(0.5)
    assert found["half"].strength == pytest.approx(0.5)
    assert found["wrong"].others.value == 0.0
    alike = {("echo", "right"), ("echo", "half"), ("half", "right")}
    assert {(each.one, each.other) for each in audit.redundant} == alike
    assert {(each.one, each.other) for each in audit.contradictory} == {
        (name, "wrong") for name in ("echo", "half", "right")
    }


def test_a_principle_decides_where_the_label_would_be_another_without_it() -> None:
    outvoted = voted(1, {"strong": (0.95, 0.95), "weak": (0.4, 0.4), "weaker": (0.45, 0.45)})
    alone = voted(2, {"only": (0.9, 0.9)})
    given = voted(3, {"only": (0.9, 0.9)}, status="given")
    audit = audit_pairs([outvoted, alone, given], {})
    assert {each.name: each.pivotal for each in audit.principles} == {"strong": 1, "weak": 0, "weaker": 0, "only": 1}
    assert set(audit.idle) == {"weak", "weaker"}


def test_features_show_what_a_label_may_be_about() -> None:
    pairs = [
        replace(pair(n), chosen=said("Sorry, why do you ask?"), rejected=said("It is\n- this\n- that\n- and more."))
        for n in range(10)
    ]
    strengths = {each.name: each.strength for each in audit_pairs(pairs, PLAIN_FEATURES).features}
    assert strengths["apologises"] == strengths["asks back"] == 1.0
    assert strengths["gives a list"] == strengths["is longer"] == -1.0
    assert strengths["takes up more of the question"] == 0.0
