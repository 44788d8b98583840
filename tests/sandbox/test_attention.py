"""The attention that the micro-model is trained with is torch's own, and so is what comes back through it."""

from __future__ import annotations

import pytest
import torch

from sandbox.attention import attention_step_by_step


@pytest.mark.parametrize("branches", [False, True], ids=["causal", "branches"])
def test_attention_and_its_gradients_are_torchs_own(branches: bool) -> None:
    """In the layout of transformers, where heads stand inside tokens."""
    torch.manual_seed(0)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    if branches:
        mask[3:, 1:3] = False
    inputs = [torch.randn(2, 5, 4, 8).transpose(1, 2).requires_grad_() for _ in range(3)]
    query, key, value = inputs
    given = mask.expand(2, 1, 5, 5) if branches else None
    found, _ = attention_step_by_step(torch.nn.Module(), query, key, value, given, 0.3)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=0.3).transpose(1, 2)
    assert found.allclose(expected, atol=1e-5)
    weights = torch.randn(2, 5, 4, 8)
    of_found, of_expected = (torch.autograd.grad((each * weights).sum(), inputs) for each in (found, expected))
    assert all(mine.allclose(torchs, atol=1e-5) for mine, torchs in zip(of_found, of_expected, strict=True))


def test_under_autocast_it_is_autograds_way_bit_for_bit() -> None:
    """So that a training comes to the same weights as with the formula left to autograd."""
    torch.manual_seed(0)
    mask = torch.ones(40, 40, dtype=torch.bool).tril().expand(2, 1, 40, 40)
    inputs = [torch.randn(2, 40, 4, 8).transpose(1, 2).requires_grad_() for _ in range(3)]
    query, key, value = inputs
    with torch.autocast("cpu", torch.bfloat16):
        scores = ((query @ key.transpose(2, 3)) * 0.3).masked_fill(~mask, -torch.inf)
        expected = (scores.softmax(-1) @ value).transpose(1, 2)
        found, _ = attention_step_by_step(torch.nn.Module(), query, key, value, mask, 0.3)
    assert found.dtype == torch.bfloat16
    assert found.equal(expected)
    of_found, of_expected = (torch.autograd.grad(each.float().square().sum(), inputs) for each in (found, expected))
    assert all(mine.equal(autograds) for mine, autograds in zip(of_found, of_expected, strict=True))
