"""Losses against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from trainers.losses import MARGINS, centring_loss, preference_loss, safety_loss, soft_dpo_loss

NAN = math.nan


def log_sigmoid(value: float) -> float:
    return -math.log1p(math.exp(-value))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_sure_label_gives_the_binary_ranking_loss() -> None:
    loss = preference_loss(tensor(2.0, -1.0), tensor(0.5, 1.0), tensor(1.0, 1.0))
    assert loss.tolist() == pytest.approx([0.20141327798, 2.12692801104])  # -log σ(1.5), -log σ(-2)


def test_a_soft_label_weighs_both_outcomes() -> None:
    (loss,) = preference_loss(tensor(1.0), tensor(0.0), tensor(0.8)).tolist()
    assert loss == pytest.approx(-0.8 * log_sigmoid(1.0) - 0.2 * log_sigmoid(-1.0))
    assert loss == pytest.approx(0.51326168752)


@pytest.mark.parametrize("label", [0.9, 0.65, 0.3, 0.5])
def test_the_loss_is_least_where_the_difference_says_the_label(label: float) -> None:
    difference = tensor(math.log(label / (1 - label))).requires_grad_()
    torch.autograd.backward(preference_loss(difference, tensor(0.0), tensor(label)).sum())
    assert difference.grad is not None
    assert difference.grad.item() == pytest.approx(0.0, abs=1e-12)


def test_margins_are_asked_on_top() -> None:
    assert [list(MARGINS[size].values()) for size in ("small", "large")] == [
        pytest.approx([1, 2 / 3, 1 / 3, 0]),
        [3, 2, 1, 0],
    ]
    chosen, rejected, sure = tensor(2.0, 2.0), tensor(0.0, 0.0), tensor(1.0, 1.0)
    loss = preference_loss(chosen, rejected, sure, margin=tensor(0.0, 3.0))
    assert loss.tolist() == pytest.approx([0.12692801104, 1.31326168752])  # -log σ(2), -log σ(2 - 3)


def test_swapping_the_answers_mirrors_the_label() -> None:
    a, b, label = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    label = label.sigmoid()
    assert torch.allclose(preference_loss(a, b, label), preference_loss(b, a, 1 - label))
    assert torch.allclose(soft_dpo_loss(a, b, b, a, label, 0.1), soft_dpo_loss(b, a, a, b, 1 - label, 0.1))


def test_large_differences_stay_finite() -> None:
    loss = preference_loss(torch.tensor([400.0, -400.0]), torch.zeros(2), torch.tensor([1.0, 1.0]))
    assert loss.tolist() == [0.0, 400.0]


def test_centring_is_the_square_of_the_sum() -> None:
    assert centring_loss(tensor(1.5, 2.0), tensor(0.5, -2.0)).tolist() == [4.0, 0.0]


def test_the_safety_loss_reads_rewards_as_log_odds_of_safety() -> None:
    chosen, rejected = tensor(2.0, 2.0, 2.0), tensor(-1.0, -1.0, -1.0)
    bad = torch.tensor([[0.0, 1.0], [0.25, NAN], [NAN, NAN]], dtype=torch.float64)
    both = (-log_sigmoid(2.0) - log_sigmoid(1.0)) / 2
    one = -0.75 * log_sigmoid(2.0) - 0.25 * log_sigmoid(-2.0)
    assert safety_loss(chosen, rejected, bad).tolist() == pytest.approx([both, one, 0.0])


def test_answers_without_a_proposition_get_no_gradient() -> None:
    chosen, rejected = tensor(2.0).requires_grad_(), tensor(-1.0).requires_grad_()
    torch.autograd.backward(safety_loss(chosen, rejected, torch.tensor([[0.0, NAN]], dtype=torch.float64)).sum())
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(1 / (1 + math.exp(-2.0)) - 1)
    assert rejected.grad.item() == 0.0


def test_soft_dpo_is_dpo_at_one_and_indifferent_at_one_half() -> None:
    logs = tensor(-10.0), tensor(-12.0), tensor(-11.0), tensor(-11.5)
    (sure,) = soft_dpo_loss(*logs, tensor(1.0), beta=0.1).tolist()
    assert sure == pytest.approx(-log_sigmoid(0.1 * ((-10 + 11) - (-12 + 11.5))))
    (soft,) = soft_dpo_loss(*logs, tensor(0.7), beta=0.1).tolist()
    assert soft == pytest.approx(-0.7 * log_sigmoid(0.15) - 0.3 * log_sigmoid(-0.15))
