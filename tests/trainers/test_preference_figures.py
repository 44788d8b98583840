"""Figures against values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.preference_figures import (
    accuracy,
    calibration_error,
    length_correlation,
    longer_preferred,
    preference_figures,
    reliability,
)


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_accuracy_leaves_out_undecided_pairs_and_halves_ties() -> None:
    found = accuracy(array(2, -1, 0, 3, 5), array(0.9, 0.8, 0.7, 1.0, 0.5))
    assert found is not None
    assert (found.value, found.count) == (0.625, 4)
    assert accuracy(array(1.0), array(0.5)) is None


def test_the_interval_is_wilsons() -> None:
    found = accuracy(array(*[1.0] * 8, *[-1.0] * 2), np.full(10, 0.9))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_model_that_says_the_labels_is_calibrated() -> None:
    labels = array(0.55, 0.7, 0.93, 0.99)
    assert calibration_error(np.array([logit(p) for p in labels]), labels) == pytest.approx(0.0, abs=1e-9)


def test_calibration_counts_each_bin_by_its_pairs_and_looks_at_the_preferred_answer() -> None:
    difference = array(logit(0.9), logit(0.9), -logit(0.9), 0.0)
    labels = array(1.0, 0.8, 0.6, 0.5)  # where the model prefers the other answer, that one's label is 0.4
    confident = (1.0 + 0.8 + 0.4) / 3
    assert calibration_error(difference, labels) == pytest.approx((3 * (0.9 - confident) + 0.0) / 4)
    assert [each.count for each in reliability(difference, labels)] == [1, 3]
    assert reliability(difference, labels)[1].held == pytest.approx(confident)


def test_over_confidence_shows() -> None:
    assert calibration_error(np.full(50, 8.0), np.full(50, 0.7)) == pytest.approx(0.2997, abs=1e-4)


def test_length_is_correlated_by_rank() -> None:
    assert length_correlation(array(0.1, 0.2, 30.0, 31.0), array(-5, 2, 3, 400)) == pytest.approx(1.0)
    assert length_correlation(array(1, 1, 1), array(1, 2, 3)) is None


def test_choosing_the_longer_is_the_floor() -> None:
    found = longer_preferred(array(10, -4, 3, 0), array(0.9, 0.9, 0.6, 0.8))
    assert found is not None
    assert found.value == 0.625


def test_figures_are_given_by_bin() -> None:
    rewards = np.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    found = preference_figures(rewards, array(0.9, 0.9, 0.9), array(1, 2, 3), ["both bad", "both bad", "good and bad"])
    assert found["pairs"] == 3
    assert found["accuracy_by_bin"]["both bad"]["value"] == 0.5
    assert found["accuracy_by_bin"]["good and bad"]["value"] == 1.0
    assert found["reward_mean"] == pytest.approx(0.6667)


def test_no_pairs_give_no_figures() -> None:
    found = preference_figures(np.zeros((2, 0)), array(), array(), [])
    assert (found["pairs"], found["accuracy"], found["calibration_error"]) == (0, None, None)
