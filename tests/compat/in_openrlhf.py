"""OpenRLHF's own data sets read our export, and its pairwise loss takes a step. Run by check.py, in its environment."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import openrlhf
import torch
from openrlhf.datasets import PromptDataset, RewardDataset, SFTDataset
from openrlhf.datasets.utils import blending_datasets
from readings import compare, given, same_text, told
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Strategy:
    """What a data set asks of OpenRLHF's launcher."""

    def __init__(self, **data: Any) -> None:
        self.args = SimpleNamespace(data=SimpleNamespace(apply_chat_template=True, **data), use_ms=False)
        self.print = print

    def is_rank_0(self) -> bool:
        return False


def main() -> None:
    exported, model = given()
    tokenizer = AutoTokenizer.from_pretrained(model)
    for kind, prompt_key in (("preference", "prompt"), ("reward", None)):
        strategy = Strategy(prompt_key=prompt_key, chosen_key="chosen", rejected_key="rejected")
        rows = blending_datasets(str(exported / kind / "train.jsonl"), None, strategy)
        data = RewardDataset(rows, tokenizer, 4096, strategy, is_dpo=kind == "preference", num_processors=1)
        expected = told(exported, kind)
        compare(kind, len(data), len(expected))
        for place, row in enumerate(expected):
            for number, side in ((0, "chosen"), (2, "rejected")):
                same_text(tokenizer, data[place][number][0], [*row["prompt"], *row[side]])
        if kind == "reward":
            print(f"  reward: a step with a loss of {step(data, model):.4f}")
    rows = blending_datasets(str(exported / "sft" / "train.jsonl"), None, Strategy())
    data = SFTDataset(rows, tokenizer, 4096, Strategy(input_key="input", output_key="output"), num_processors=1)
    expected = told(exported, "sft")
    compare("sft", len(data), len(expected))
    for place, row in enumerate(expected):
        same_text(tokenizer, data[place][0][0], [*row["prompt"], *row["completion"]])
    rows = blending_datasets(str(exported / "prompts" / "train.jsonl"), None, Strategy())
    asked = PromptDataset(rows, tokenizer, Strategy(input_key="input", label_key="label"))
    expected = told(exported, "prompts")
    compare("prompts", len(asked), len(expected))
    for place, row in enumerate(expected):
        said = tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True)
        assert asked[place][1] == said, (asked[place][1], said)


def step(data: Any, model: str) -> float:
    """One step of a reward model on OpenRLHF's batch with OpenRLHF's loss. Its trainer needs DeepSpeed and a GPU."""
    # The package of its models imports flash-attn, which has no build for a CPU; the module of its losses does not.
    models = ModuleType("openrlhf.models")
    models.__path__ = [str(Path(str(openrlhf.__file__)).parent / "models")]
    sys.modules["openrlhf.models"] = models
    pairwise_loss = importlib.import_module("openrlhf.models.loss").PairWiseLoss()
    scorer = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1)
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-3)
    chosen, chosen_mask, rejected, rejected_mask, margin = data.collate_fn([data[place] for place in range(4)])
    rewards = [
        scorer(input_ids=ids.squeeze(1), attention_mask=mask.squeeze(1)).logits[:, 0]
        for ids, mask in ((chosen, chosen_mask), (rejected, rejected_mask))
    ]
    loss = pairwise_loss(*rewards, torch.tensor(margin))
    loss.backward()
    optimizer.step()
    return float(loss.detach())


if __name__ == "__main__":
    main()
