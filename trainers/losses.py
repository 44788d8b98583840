"""What preference training minimises, as pure functions of tensors.

Tensors have one entry a pair unless their name says otherwise: `chosen` and `rejected` are rewards (logits of a
preference model) or summed log-probabilities of whole answers, `probability` is the label, P(chosen is better).
Every loss is returned pair by pair; who calls it weighs and averages.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

Grade = Literal["significantly better", "better", "slightly better", "negligibly better"]
"""How strongly a person preferred an answer (Touvron et al. 2023, section 3.1)."""

MARGINS: dict[Literal["small", "large"], dict[Grade, float]] = {
    "small": {"significantly better": 1.0, "better": 2 / 3, "slightly better": 1 / 3, "negligibly better": 0.0},
    "large": {"significantly better": 3.0, "better": 2.0, "slightly better": 1.0, "negligibly better": 0.0},
}
"""By how much the chosen answer's reward is to exceed the other's (Touvron et al. 2023, table 27)."""


def preference_loss(
    chosen: torch.Tensor, rejected: torch.Tensor, probability: torch.Tensor, margin: torch.Tensor | None = None
) -> torch.Tensor:
    """The cross-entropy of σ(chosen − rejected − margin) against the label (Bai et al. 2022, section 4.1).

    With a label of 1 it is −log σ(chosen − rejected − margin), the binary ranking loss of Touvron et al. 2023,
    section 3.2.2. It is least where the difference of rewards is margin + logit(probability).
    """
    difference = chosen - rejected if margin is None else chosen - rejected - margin
    return binary_cross_entropy_with_logits(difference, probability, reduction="none")


def centring_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """(chosen + rejected)²: pulls rewards to a mean of zero, which differences alone leave open (Eisenstein et al.
    2023, equation 2). Weighed with about 0.01."""
    return (chosen + rejected) ** 2


def safety_loss(chosen: torch.Tensor, rejected: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of σ(reward), read as the probability that an answer is safe, against what propositions said.

    `bad` has shape pairs × 2: the probability that the chosen and the rejected answer is bad, NaN where nobody asked.
    The mean over a pair's known answers, 0 where neither is known. It fixes the rewards' zero, so that a threshold on
    σ(reward) means something (the auxiliary safety loss of Touvron et al. 2023, table 28).
    """
    rewards = torch.stack([chosen, rejected], dim=1)
    known = ~bad.isnan()
    safe = torch.where(known, 1 - bad, 0.5).to(rewards.dtype)
    each = binary_cross_entropy_with_logits(rewards, safe, reduction="none")
    return (each * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def soft_dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    probability: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    """Direct preference optimisation towards a soft label: the cross-entropy of σ(β·((log π_c − log ref_c) −
    (log π_r − log ref_r))) against it. With a label of 1 it is the loss of Rafailov et al. 2023, equation 7.

    Arguments are log-probabilities of whole answers, summed over their tokens.
    """
    implied = (chosen - reference_chosen) - (rejected - reference_rejected)
    return preference_loss(beta * implied, torch.zeros_like(implied), probability)
