"""TRL's RewardTrainer with what it leaves out: soft labels, weights, margins per pair, propositions, shared prompts.

Rows are `EncodedPair`s with the labels of LABELS beside them. Tensors are named by their axes: B pairs.
"""

# ruff: noqa: N803, N806
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from trl import RewardTrainer

from trainers.last_batch import LastBatchTrainer
from trainers.losses import centring_loss, preference_loss, safety_loss
from trainers.preference_figures import Numbers
from trainers.shared_prefix import PADDING_BRANCH, may_share, pair_batch, pair_rewards

LABELS = ("probability", "weight", "margin", "bad")
COLUMNS = ("chosen_ids", "rejected_ids", "shared", *LABELS)


class PreferenceTrainer(LastBatchTrainer, RewardTrainer):  # type: ignore[misc]
    """Trains a model that `read_at_ends` prepared.

    The loss of a step is the mean over its pairs of weight × (cross-entropy against the label + `safety` × the safety
    loss + `centring` × the centring loss).
    """

    def __init__(self, model: Any, *, safety: float = 0.0, centring: float = 0.0, **arguments: Any) -> None:
        self._safety = safety
        self._centring = centring
        self.may_share = may_share(model)
        self._sums: dict[str, list[torch.Tensor]] = {"train": [], "eval": []}
        super().__init__(model, data_collator=self.collate, **arguments)

    def collate(self, pairs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows of the data set as one batch."""
        labels = {name: torch.tensor([pair[name] for pair in pairs], dtype=torch.float32) for name in LABELS}
        return {**pair_batch(pairs, may_share=self.may_share), **labels}  # type: ignore[arg-type]

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(COLUMNS)

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        batch = {name: tensor for name, tensor in inputs.items() if name not in LABELS}
        chosen_B, rejected_B = pair_rewards(model, batch).float()
        probability_B = inputs["probability"]
        loss_B = preference_loss(chosen_B, rejected_B, probability_B, inputs["margin"])
        if self._safety:
            loss_B = loss_B + self._safety * safety_loss(chosen_B, rejected_B, inputs["bad"])
        if self._centring:
            loss_B = loss_B + self._centring * centring_loss(chosen_B, rejected_B)
        loss = (inputs["weight"] * loss_B).mean()
        tokens = (batch["branches_R_T"] != PADDING_BRANCH) if "branches_R_T" in batch else batch["attention_mask"]
        self._note(chosen_B.detach(), rejected_B.detach(), probability_B, tokens.sum())
        return (loss, {"rewards": torch.stack([chosen_B, rejected_B])}) if return_outputs else loss

    def _note(
        self, chosen_B: torch.Tensor, rejected_B: torch.Tensor, probability_B: torch.Tensor, tokens: torch.Tensor
    ) -> None:
        """Adds a batch to the metrics of the next line. Nothing waits for the device before that."""
        decided_B = probability_B > 0.5
        sums = [
            ((chosen_B > rejected_B) & decided_B).sum(),
            decided_B.sum(),
            (chosen_B - rejected_B).sum(),
            (chosen_B + rejected_B).sum() / 2,
            torch.tensor(float(len(chosen_B)), device=chosen_B.device),
            tokens,
        ]
        self._sums["train" if self.model.training else "eval"].append(torch.stack([each.float() for each in sums]))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = "train" if self.model.training else "eval"
        if self._sums[mode]:
            gathered = self.accelerator.reduce(torch.stack(self._sums[mode]).sum(0), reduction="sum")
            right, decided, difference, reward, pairs, tokens = gathered.tolist()
            self._sums[mode].clear()
            if decided:
                self._metrics[mode]["accuracy"].append(right / decided)
            self._metrics[mode]["margin"].append(difference / pairs)
            self._metrics[mode]["mean_reward"].append(reward / pairs)
            self._total_train_tokens += int(tokens) if mode == "train" else 0
            self._metrics[mode]["num_tokens"].append(self._total_train_tokens)
        super().log(logs, start_time)


def rewards_of(model: Any, rows: Sequence[Mapping[str, Any]], batch_size: int, *, share: bool) -> Numbers:
    """The rewards of the chosen and the rejected answers of many pairs, shape 2 × N. Pairs of like lengths go
    together."""
    rewards = np.zeros((2, len(rows)))
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["chosen_ids"]))
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = pair_batch([rows[place] for place in places], may_share=share)  # type: ignore[misc]
            found = pair_rewards(model, {name: tensor.to(model.device) for name, tensor in batch.items()})
            rewards[:, places] = found.float().cpu().numpy()
    return rewards
