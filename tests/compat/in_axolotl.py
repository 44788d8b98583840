"""axolotl's own loading and strategies read our export. Run by check.py, in its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axolotl.prompt_strategies.bradley_terry import load as load_reward
from axolotl.prompt_strategies.chat_template import load as load_chat
from axolotl.prompt_strategies.dpo import load as load_dpo
from axolotl.prompt_strategies.kto import load as load_kto
from axolotl.utils.dict import DictDefault
from datasets import load_dataset
from readings import compare, given, same_text, told
from transformers import AutoTokenizer


def main() -> None:
    exported, model = given()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def rows(kind: str) -> Any:
        return load_dataset("json", data_files=str(exported / kind / "train.jsonl"), split="train")

    settings = config(exported, "preference", "chat_template.default")
    transform, options = load_dpo("chat_template.default", settings, dataset_idx=0)
    read = rows("preference").map(transform, fn_kwargs={"tokenizer": tokenizer}, **options)
    expected = told(exported, "preference")
    compare("preference", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        prompt = tokenizer.apply_chat_template(of["prompt"], tokenize=False, add_generation_prompt=True)
        assert row["prompt"] == prompt
        for side in ("chosen", "rejected"):
            assert row[side].startswith(of[side][0]["content"]), row[side]
        assert row["probability"] > 0.5

    settings = config(exported, "reward", "bradley_terry.chat_template", reward_model=True)
    strategy = load_reward("chat_template", tokenizer, settings, settings.datasets[0])
    expected = told(exported, "reward")
    read = [strategy._tokenize_single_prompt(dict(row)) for row in rows("reward")]
    compare("reward", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        system = [] if of["prompt"][0]["role"] == "system" else [{"role": "system", "content": ""}]
        for side in ("chosen", "rejected"):
            same_text(tokenizer, row[f"{side}_ids"], [*system, *of["prompt"], *of[side]])

    settings = config(exported, "sft", "chat_template")
    strategy = load_chat(tokenizer, settings, settings.datasets[0])
    expected = told(exported, "sft")
    read = [strategy.tokenize_prompt(dict(row)) for row in rows("sft")]
    compare("sft", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        same_text(tokenizer, row["input_ids"], [*of["prompt"], *of["completion"]])
        assert any(label >= 0 for label in row["labels"])

    settings = config(exported, "unpaired", "chatml.argilla_chat")
    transform = load_kto("chatml.argilla_chat", settings, dataset_idx=0)
    read = rows("unpaired").map(transform)
    expected = told(exported, "unpaired")
    compare("unpaired", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        said = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in of["prompt"])
        assert row["prompt"] == f"{said}<|im_start|>assistant\n"
        assert row["completion"] == f"{of['completion'][0]['content']}<|im_end|>"
        assert row["label"] == of["label"]


def config(exported: Path, kind: str, strategy: str, **settings: Any) -> Any:
    """axolotl's configuration of one data set."""
    data = {"path": str(exported / kind / "train.jsonl"), "ds_type": "json", "type": strategy}
    return DictDefault({"datasets": [data], "chat_template": "tokenizer_default", "sequence_len": 4096, **settings})


if __name__ == "__main__":
    main()
