"""Intervals and tests against statsmodels, scikit-learn and hand-worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from evaluation.calibration import calibration
from evaluation.estimates import clustered_mean, paired_shares, share


def test_wilson_interval_by_hand_and_by_statsmodels() -> None:
    # 8 of 10: (0.8 + 1.96²/20 ± 1.96 √(0.8·0.2/10 + 1.96²/400)) / (1 + 1.96²/10)
    estimate = share(8, 10)
    assert estimate.low == pytest.approx(0.4902, abs=1e-4)
    assert estimate.high == pytest.approx(0.9433, abs=1e-4)
    for held, n in ((0, 7), (3, 40), (40, 40)):
        low, high = proportion_confint(held, n, method="wilson")
        found = share(held, n)
        assert found.low == pytest.approx(low, abs=1e-9)
        assert found.high == pytest.approx(high, abs=1e-9)
    assert share(0, 0).value is None


def test_a_clustered_mean_is_as_sure_as_its_clusters_are_many() -> None:
    values = [float(n % 2) for n in range(200)]
    apart = clustered_mean(values, range(200))
    together = clustered_mean(
        [float(n % 2) for n in range(20) for _ in range(10)], [n for n in range(20) for _ in range(10)]
    )
    assert apart.value == together.value == 0.5
    assert apart.low == pytest.approx(0.43, abs=0.02), "0.5 − 1.96 √(0.25 / 200)"
    assert together.low == pytest.approx(0.28, abs=0.05), "0.5 − 1.96 √(0.25 / 20)"
    assert clustered_mean([1.0, 0.0], ["one", "one"]).low is None
    assert clustered_mean([], []).value is None


def test_paired_shares_are_tested_as_mcnemar_does() -> None:
    first = [True] * 30 + [False] * 70
    second = [True] * 22 + [False] * 8 + [True] * 3 + [False] * 67
    found = paired_shares(first, second)
    expected = mcnemar([[22, 8], [3, 67]], exact=True).pvalue
    assert (found.only_first, found.only_second) == (8, 3)
    assert found.p_value == pytest.approx(expected)
    assert found.difference.value == pytest.approx(-0.05)
    assert paired_shares([True, False], [True, False]).p_value == 1


def test_calibration_by_hand() -> None:
    # Bin 0.2–0.3: mean 0.25, one of two held; bin 0.9–1: mean 0.95, both. (2·0.25 + 2·0.05) / 4
    found = calibration([0.2, 0.3 - 1e-9, 0.9, 1.0], [True, False, True, True])
    assert found.error.value == pytest.approx(0.15)
    assert found.brier.value == pytest.approx((0.64 + 0.09 + 0.01 + 0) / 4, abs=1e-6)
    assert [each.held.n for each in found.bins] == [0, 0, 2, 0, 0, 0, 0, 0, 0, 2]
    assert found.bins[0].predicted is None
    assert calibration([], []).error.value is None


def test_reliability_bins_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(3)
    predicted = draw.random(2_000)
    held = draw.random(2_000) < predicted**2
    truths, means = calibration_curve(held, predicted, n_bins=10)
    found = calibration(list(predicted), list(held))
    assert [each.predicted for each in found.bins] == pytest.approx(list(means))
    assert [each.held.value for each in found.bins] == pytest.approx(list(truths))
    assert found.error.value is not None
    counts = [each.held.n for each in found.bins if each.held.n]
    assert found.error.value == pytest.approx(np.average(np.abs(truths - means), weights=counts))
