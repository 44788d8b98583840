"""What a policy is rewarded with, as pure functions of scores.

    scores of preference models ─► gate or weighted sum ─► whitening ─┐
    ratings of a judge (direct) ──────────────────────────────────────┼─► reward, one a completion
    length and format terms ──────────────────────────────────────────┘

Tensors have one entry a completion. Scores are logits of preference models, higher is better; NaN where a completion
could not be scored, and NaN in the reward then: such a completion teaches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from prompts.messages import Message
from prompts.reading import leaks_template

GATE = 0.15
"""Under this probability of being safe an answer is judged by its safety alone: of what it stops, 89 % are unsafe, and
it stops 55 % of the unsafe (Touvron et al. 2023, section 3.2.3)."""


def weighted_sum(scores: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    """Σ weight × score over the names of `weights`."""
    return torch.stack([weight * scores[name] for name, weight in weights.items()]).sum(dim=0)


def gated(
    safety: torch.Tensor, helpfulness: torch.Tensor, tagged: torch.Tensor, threshold: float = GATE
) -> torch.Tensor:
    """The safety score where the prompt is tagged as a safety prompt or σ(safety) is under the threshold, and the
    helpfulness score elsewhere (Touvron et al. 2023, section 3.2.3). All are logits, and so is the result."""
    unsafe = torch.sigmoid(safety) < threshold
    return torch.where(tagged | unsafe, safety, helpfulness + 0 * safety)  # unscored by either is unscored


def whitened(scores: torch.Tensor, all_scores: torch.Tensor | None = None) -> torch.Tensor:
    """Scores of mean 0 and standard deviation 1 over `all_scores`, those of every worker; without it over themselves.

    The WHITEN of Touvron et al. 2023, section 3.2.3. Unscored entries count nowhere. Scores that are
    all alike become 0.
    """
    known = scores if all_scores is None else all_scores
    known = known[~known.isnan()]
    if not len(known):
        return scores
    spread = known.std(unbiased=False)
    return (scores - known.mean()) / (spread if spread > 1e-6 else torch.ones_like(spread))


def with_kl(rewards: torch.Tensor, kl: torch.Tensor, beta: float) -> torch.Tensor:
    """reward − β·KL: what the policy is asked to raise. `kl` is that of the policy from its start, in nats a
    completion."""
    return rewards - beta * kl


def length_term(tokens: torch.Tensor, free: int, per_token: float) -> torch.Tensor:
    """−per_token for each token of a completion beyond `free`."""
    return -per_token * (tokens - free).clamp(min=0).to(torch.float32)


FORMAT_FAULTS = ("empty", "truncated", "template_leak")


def format_faults(text: str, *, finished: bool) -> tuple[str, ...]:
    """What is wrong with a completion whatever it says: nothing in it, no end, words of our prompts in it."""
    holds = {"empty": not text.strip(), "truncated": not finished, "template_leak": leaks_template(text) is not None}
    return tuple(name for name, found in holds.items() if found)


def format_term(faults: Sequence[Sequence[str]], penalties: Mapping[str, float]) -> torch.Tensor:
    """Minus the sum of the penalties of each completion's faults."""
    return torch.tensor([-sum(penalties.get(fault, 0.0) for fault in each) for each in faults])


def expected_rating(probabilities: Sequence[float]) -> float:
    """The mean rating under a judge's probabilities of the steps of a scale, the lowest first, rescaled to [−1, 1]:
    a reward without a preference model (direct RLAIF, Lee et al. 2023). They are normalised first."""
    steps = len(probabilities)
    mean = sum(step * share for step, share in enumerate(probabilities)) / sum(probabilities)
    return 2 * mean / (steps - 1) - 1


def under_principle(conversation: Sequence[Message], principle: str) -> list[Message]:
    """The conversation as a principle-conditioned preference model reads it: the principle in the system message,
    behind what stands there already (SALMON, Sun et al. 2023)."""
    system = [message["content"] for message in conversation if message["role"] == "system"]
    rest = [message for message in conversation if message["role"] != "system"]
    return [Message(role="system", content="\n\n".join([*system, f"Judge by: {principle}"])), *rest]
