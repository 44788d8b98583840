from __future__ import annotations

import pytest

from trainers.mixing import drawn, mixture


def test_without_shares_every_row_is_taken() -> None:
    assert mixture([5, 0, 7], [None, None, None]) == [5, 0, 7]


@pytest.mark.parametrize(
    ("available", "shares", "taken"),
    [
        ([100, 100], [3, 1], [100, 33]),
        ([30, 900], [0.1, 0.9], [30, 270]),
        ([1000, 10, 50], [0.5, 0.1, 0.4], [50, 10, 40]),
        ([10, 0], [1, 1], [0, 0]),
    ],
)
def test_the_scarcest_source_decides_and_the_ratio_holds(
    available: list[int], shares: list[float | None], taken: list[int]
) -> None:
    assert mixture(available, shares) == taken


def test_a_share_for_some_sources_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="every source has a share, or none"):
        mixture([1, 2], [1, None])


def test_a_draw_keeps_the_order_and_hangs_on_seed_and_id_alone() -> None:
    rows = [f"row {number}" for number in range(200)]
    some = drawn(rows, rows, 50, seed=1)
    assert len(some) == 50
    assert some == sorted(some, key=rows.index)
    assert some == drawn(rows, rows, 50, seed=1) != drawn(rows, rows, 50, seed=2)
    more = ["a new row", *rows]
    assert len(set(drawn(more, more, 50, seed=1)) & set(some)) >= 49
