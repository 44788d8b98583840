"""verl's own data sets read our export. Run by check.py, in its environment."""

from __future__ import annotations

from omegaconf import OmegaConf
from readings import compare, given, told
from transformers import AutoTokenizer
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn
from verl.utils.dataset.rm_dataset import RMDataset


def main() -> None:
    exported, model = given()
    tokenizer = AutoTokenizer.from_pretrained(model)
    pairs = RMDataset(str(exported / "preference" / "train.parquet"), tokenizer, max_length=2048)
    expected = told(exported, "preference")
    compare("preference", len(pairs), len(expected))
    for place, row in enumerate(expected):
        for number, side in enumerate(("chosen", "rejected")):
            read = tokenizer.decode(pairs[place]["input_ids"][number], skip_special_tokens=True)
            spoken = [*row["prompt"], *row[side]]
            names = {"user": "Human", "assistant": "Assistant"}
            said = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in spoken)
            assert read.startswith(said), f"{read!r} is not {said!r}"

    settings = OmegaConf.create({"max_length": 2048, "pad_mode": "no_padding", "ignore_input_ids_mismatch": True})
    answers = MultiTurnSFTDataset(str(exported / "sft" / "train.parquet"), tokenizer, settings)
    expected = told(exported, "sft")
    compare("sft", len(answers), len(expected))
    for place, row in enumerate(expected):
        assert answers.messages[place] == [*row["prompt"], *row["completion"]]
        assert answers[place]["loss_mask"].sum() > 0

    settings = OmegaConf.create({"max_prompt_length": 2048, "return_raw_chat": True})
    asked = RLHFDataset(str(exported / "prompts" / "train.parquet"), tokenizer, settings)
    expected = told(exported, "prompts")
    compare("prompts", len(asked), len(expected))
    batch = collate_fn([asked[place] for place in range(len(asked))])
    for place, row in enumerate(expected):
        assert list(batch["raw_prompt"][place]) == row["prompt"]
        assert batch["extra_info"][place]["split"] == "train"
        assert batch["reward_model"][place] == {"style": "model", "ground_truth": ""}


if __name__ == "__main__":
    main()
