"""TRL's DPOTrainer with soft labels and weights. Tensors are named by their axes: B pairs.

The log-probabilities are those of the tokens in which the two conversations differ. What they share, prompt or
beginning of an answer, has the same log-probability in both, which the loss takes the difference of.
"""

# ruff: noqa: N803, N806
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from trainers.last_batch import LastBatchTrainer
from trainers.losses import soft_dpo_loss
from trainers.preference_figures import Numbers

LABELS = ("probability", "weight")
COLUMNS = ("chosen_ids", "rejected_ids", "shared", *LABELS)


class DirectPreferenceTrainer(LastBatchTrainer, DPOTrainer):  # type: ignore[misc]
    """Trains on rows of `data/train` as they are: the loss of a step is the mean over its pairs of weight × the
    cross-entropy of the implied preference against the label."""

    def __init__(self, model: Any, *, processing_class: Any, **arguments: Any) -> None:
        self._pad = DataCollatorForPreference(pad_token_id=processing_class.pad_token_id)
        super().__init__(model, processing_class=processing_class, data_collator=self.collate, **arguments)

    def collate(self, pairs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows of the data set as one batch."""
        split = [
            {
                "prompt_ids": list(pair["chosen_ids"][: pair["shared"]]),
                "chosen_ids": list(pair["chosen_ids"][pair["shared"] :]),
                "rejected_ids": list(pair["rejected_ids"][pair["shared"] :]),
            }
            for pair in pairs
        ]
        labels = {name: torch.tensor([pair[name] for pair in pairs], dtype=torch.float32) for name in LABELS}
        batch: dict[str, torch.Tensor] = self._pad(split)
        return batch | labels

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset  # it is tokenised, with our chat

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(COLUMNS)

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        batch = {name: tensor for name, tensor in inputs.items() if name not in LABELS}
        chosen_B, rejected_B = self._log_probabilities(model, batch)
        reference_chosen_B, reference_rejected_B = self._reference(batch)
        loss_B = soft_dpo_loss(
            chosen_B, rejected_B, reference_chosen_B, reference_rejected_B, inputs["probability"], self.beta
        )
        loss = (inputs["weight"] * loss_B).mean()
        rewards_2_B = self.beta * torch.stack([chosen_B - reference_chosen_B, rejected_B - reference_rejected_B])
        self._note(rewards_2_B.detach(), batch["attention_mask"].sum())
        return (loss, {"rewards": rewards_2_B}) if return_outputs else loss

    def _log_probabilities(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the chosen and the rejected answers, summed over the tokens in which they differ."""
        labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
        outputs = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
            labels=labels,
            fused_lm_head=True,
        )
        chosen_B, rejected_B = outputs.log_probs.sum(dim=1).chunk(2)
        return chosen_B, rejected_B

    def _reference(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of the policy at the start: a copy of it, or itself without its adapters."""
        chosen_B, rejected_B = self.compute_ref_log_probs(self.ref_model or self.model, dict(batch))
        return chosen_B, rejected_B

    def _note(self, rewards_2_B: torch.Tensor, tokens: torch.Tensor) -> None:
        mode = "train" if self.model.training else "eval"
        chosen_B, rejected_B = rewards_2_B
        mine = torch.stack([(chosen_B > rejected_B).float().mean(), chosen_B.mean(), rejected_B.mean()])
        accuracy, chosen, rejected = self.accelerator.reduce(mine, reduction="mean").tolist()
        self._total_train_tokens += int(self.accelerator.reduce(tokens, reduction="sum")) if mode == "train" else 0
        named = {
            "rewards/accuracies": accuracy,
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
        }
        for name, value in named.items():
            self._metrics[mode][name].append(value)
        self._metrics[mode]["num_tokens"] = [float(self._total_train_tokens)]  # so far, and no mean over a step

    def implied_rewards(self, rows: Sequence[Mapping[str, Any]]) -> Numbers:
        """β × (log π − log π at the start) of the chosen and the rejected answers of many pairs, shape 2 × N."""
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        rewards = np.zeros((2, len(rows)))
        size = self.args.per_device_eval_batch_size
        for start in range(0, len(rows), size):
            batch = {name: tensor.to(model.device) for name, tensor in self.collate(rows[start : start + size]).items()}
            with torch.no_grad():
                policy, reference = self._log_probabilities(model, batch), self._reference(batch)
            for side in range(2):
                implied = self.beta * (policy[side] - reference[side])
                rewards[side, start : start + size] = implied.float().cpu().numpy()
        return rewards
