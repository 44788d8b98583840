"""Attention for training on a CPU: as its formula is written, forth and back, with as few passes over the scores as can
be. With documents of a few hundred tokens, which are what the sandbox has, autograd's own way through the formula takes
1.1 times as long a step, and torch's fused attention 1.3 times as long as that (docs/log.md)."""

# Tensors are named by their axes: B documents of a batch, H heads, T tokens, D numbers of a head.
# ruff: noqa: N803, N806
from __future__ import annotations

from typing import Any

import torch
from torch.amp import custom_bwd, custom_fwd

STEP_BY_STEP = "step_by_step"
"""What transformers calls it."""


class _Attention(torch.autograd.Function):
    """softmax(QKᵀ · scaling + bias) V. The bias is 0 where a token is seen and -inf where not, so nothing comes back
    through what is not seen, and no mask is needed on the way back."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(
        ctx: Any,
        query_B_H_T_D: torch.Tensor,
        key_B_H_T_D: torch.Tensor,
        value_B_H_T_D: torch.Tensor,
        bias_B_1_T_T: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        scores_B_H_T_T = (query_B_H_T_D @ key_B_H_T_D.transpose(2, 3)).mul_(scaling).add_(bias_B_1_T_T)
        shares_B_H_T_T = scores_B_H_T_T.softmax(-1)
        ctx.save_for_backward(query_B_H_T_D, key_B_H_T_D, value_B_H_T_D, shares_B_H_T_T)
        ctx.scaling = scaling
        return shares_B_H_T_T @ value_B_H_T_D

    @staticmethod
    @custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (back_B_H_T_D,) = gradients
        query_B_H_T_D, key_B_H_T_D, value_B_H_T_D, shares_B_H_T_T = ctx.saved_tensors
        back_B_H_T_T = torch._softmax_backward_data(
            back_B_H_T_D @ value_B_H_T_D.transpose(2, 3), shares_B_H_T_T, -1, shares_B_H_T_T.dtype
        ).mul_(ctx.scaling)
        return (
            back_B_H_T_T @ key_B_H_T_D,
            back_B_H_T_T.transpose(2, 3) @ query_B_H_T_D,
            shares_B_H_T_T.transpose(2, 3) @ back_B_H_T_D,
            None,
            None,
        )


def attention_step_by_step(
    module: torch.nn.Module,
    query_B_H_T_D: torch.Tensor,
    key_B_H_T_D: torch.Tensor,
    value_B_H_T_D: torch.Tensor,
    mask_B_1_T_T: torch.Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers asks of an attention: the result of shape B, T, H, D, and no weights.

    Args:
        mask_B_1_T_T: What sees what; each token sees at least itself. None stands for all up to itself.
    """
    if mask_B_1_T_T is None:
        width = query_B_H_T_D.shape[2]
        mask_B_1_T_T = torch.ones(width, width, dtype=torch.bool).tril()
    bias_B_1_T_T = torch.zeros(mask_B_1_T_T.shape, dtype=query_B_H_T_D.dtype).masked_fill_(~mask_B_1_T_T, -torch.inf)
    found_B_H_T_D = _Attention.apply(  # type: ignore[no-untyped-call]
        query_B_H_T_D, key_B_H_T_D, value_B_H_T_D, bias_B_1_T_T, scaling
    )
    return found_B_H_T_D.transpose(1, 2).contiguous(), None
