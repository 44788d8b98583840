"""Principles are drawn by weight, the same on every machine, and a small edit moves few draws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import pytest

from constitution import BadInput, check_count, check_revision, draw_comparison_principles, draw_principle
from constitution.schema import Constitution

WEIGHTS = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 0.5, "e": 1.0}


def made_of(weights: Mapping[str, float], **fields: object) -> Constitution:
    texts = {"critique": "c", "revision": "r", "comparison": "q", **fields}
    return Constitution.model_validate(
        {"name": "x", "principles": [{"id": name, "weight": weight, **texts} for name, weight in weights.items()]}
    )


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P(χ² ≥ statistic), by Wilson and Hilferty's cube root: right to 1e-3 for the few degrees of freedom here."""
    spread = 2 / (9 * freedom)
    return 0.5 * math.erfc(((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(2 * spread))


def goodness(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """The p-value of the counts under the shares (which sum to 1)."""
    total = sum(counts.values())
    statistic = sum((counts[name] - total * share) ** 2 / (total * share) for name, share in shares.items())
    return chi_square_tail(statistic, len(shares) - 1)


def shares_of(weights: Mapping[str, float]) -> dict[str, float]:
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


ITEMS = [f"{index:016x}" for index in range(4000)]


def test_draws_follow_the_weights() -> None:
    constitution = made_of(WEIGHTS)
    counts = Counter(draw_principle(constitution, seed=3, item_id=item, round=0).id for item in ITEMS)
    assert goodness(counts, shares_of(WEIGHTS)) > 0.01
    assert goodness(counts, shares_of(dict.fromkeys(WEIGHTS, 1.0))) < 1e-6  # the test can tell


def test_rounds_are_independent_and_with_replacement() -> None:
    constitution = made_of({"a": 1.0, "b": 3.0})
    pairs = Counter(
        "".join(draw_principle(constitution, seed=0, item_id=item, round=number).id for number in (0, 1))
        for item in ITEMS
    )
    shares = {"aa": 1 / 16, "ab": 3 / 16, "ba": 3 / 16, "bb": 9 / 16}
    assert goodness(pairs, shares) > 0.01


def test_four_rounds_repeat_a_principle_as_often_as_chance_says() -> None:
    constitution = made_of({f"p{index}": 1.0 for index in range(16)})
    chains = [[draw_principle(constitution, seed=1, item_id=item, round=r).id for r in range(4)] for item in ITEMS]
    repeated = sum(len(set(chain)) < 4 for chain in chains) / len(chains)
    assert abs(repeated - (1 - 16 * 15 * 14 * 13 / 16**4)) < 0.03  # 33.3 %, four standard errors


def test_comparison_principles_are_different_and_the_first_follows_the_weights() -> None:
    constitution = made_of(WEIGHTS)
    draws = [draw_comparison_principles(constitution, seed=9, item_id=item, count=3) for item in ITEMS]
    assert all(len({each.id for each in draw}) == 3 for draw in draws)
    assert goodness(Counter(draw[0].id for draw in draws), shares_of(WEIGHTS)) > 0.01
    rest = {name: weight for name, weight in WEIGHTS.items() if name != "c"}
    seconds = Counter(draw[1].id for draw in draws if draw[0].id == "c")
    assert goodness(seconds, shares_of(rest)) > 0.01


def test_drawing_all_gives_each_once_and_fewer_gives_a_head_of_it() -> None:
    constitution = made_of(WEIGHTS)
    drawn = draw_comparison_principles(constitution, seed=5, item_id="item", count=5)
    assert sorted(each.id for each in drawn) == sorted(WEIGHTS)
    assert draw_comparison_principles(constitution, seed=5, item_id="item", count=2) == drawn[:2]


def test_a_draw_is_the_same_on_every_machine() -> None:
    constitution = made_of(WEIGHTS)
    drawn = [draw_principle(constitution, seed=11, item_id="cafe", round=number).id for number in range(12)]
    assert "".join(drawn) == "ccaceecccbcc"
    assert (
        "".join(each.id for each in draw_comparison_principles(constitution, seed=7, item_id="cafe", count=5))
        == "bcdae"
    )


def test_seed_item_and_round_all_matter() -> None:
    constitution = made_of({f"p{index}": 1.0 for index in range(50)})

    def drawn(seed: int = 0, prefix: str = "", shift: int = 0) -> list[str]:
        return [draw_principle(constitution, seed=seed, item_id=f"{prefix}i", round=r + shift).id for r in range(8)]

    assert len({tuple(each) for each in (drawn(), drawn(seed=1), drawn(prefix="j"), drawn(shift=8))}) == 4


def test_order_changes_no_draw_and_a_new_principle_takes_only_its_own() -> None:
    before = made_of(WEIGHTS)
    shuffled = made_of(dict(reversed(WEIGHTS.items())))
    grown = made_of({**WEIGHTS, "new": 1.5})
    old, again, new = (
        [draw_principle(each, seed=2, item_id=item, round=0).id for item in ITEMS] for each in (before, shuffled, grown)
    )
    assert again == old
    moved = [after for earlier, after in zip(old, new, strict=True) if earlier != after]
    assert set(moved) == {"new"}
    assert abs(len(moved) / len(ITEMS) - 0.15) < 0.03


def test_only_principles_of_the_category_are_drawn() -> None:
    texts = {"critique": "c", "revision": "r", "comparison": "q"}
    constitution = Constitution.model_validate(
        {
            "name": "x",
            "principles": [
                {"id": "all", **texts},
                {"id": "crime", "risk": ["illicit"], **texts},
                {"id": "hate", "risk": ["hateful"], **texts},
            ],
        }
    )

    def drawn(category: str) -> set[str]:
        return {draw_principle(constitution, seed=0, item_id=i, round=0, category=category).id for i in ITEMS[:200]}

    assert drawn("illicit") == {"all", "crime"}
    assert drawn("") == drawn("some other word") == {"all", "crime", "hate"}
    both = draw_comparison_principles(constitution, seed=0, item_id="i", count=2, category="hateful")
    assert {each.id for each in both} == {"all", "hate"}
    check_count(constitution, 2)
    with pytest.raises(BadInput) as caught:
        check_count(constitution, 3)
    assert [str(fault) for fault in caught.value.faults] == [
        "3 comparison principles were asked for, and the constitution 'x' has 2 for the risk category 'hateful'"
        " (ask for 1 to 2)",
        "3 comparison principles were asked for, and the constitution 'x' has 2 for the risk category 'illicit'"
        " (ask for 1 to 2)",
    ]


def test_what_cannot_be_drawn_is_bad_input() -> None:
    comparing = made_of({"a": 1.0}, critique=None, revision=None)
    with pytest.raises(BadInput, match="has no principle that can revise"):
        draw_principle(comparing, seed=0, item_id="i", round=0)
    with pytest.raises(BadInput, match="has no principle that can revise"):
        check_revision(comparing)
    revising = made_of({"a": 1.0}, comparison=None)
    check_revision(revising)
    with pytest.raises(BadInput, match=r"1 comparison principle was asked for.* has 0 \(give at least one"):
        draw_comparison_principles(revising, seed=0, item_id="i", count=1)
    with pytest.raises(BadInput, match="0 comparison principles were asked for"):
        check_count(made_of({"a": 1.0}), 0)
