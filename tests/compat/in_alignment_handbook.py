"""The Alignment Handbook's own loading reads our export. Run by check.py, in its environment."""

from __future__ import annotations

from alignment.data import apply_chat_template, get_datasets
from readings import compare, given, told
from transformers import AutoTokenizer


def main() -> None:
    exported, model = given()
    tokenizer = AutoTokenizer.from_pretrained(model)
    mixed = {str(exported): 1.0}
    options = {"shuffle": False, "configs": ["preference"], "columns_to_keep": ["chosen", "rejected"]}
    read = get_datasets(mixed, splits=["train_prefs"], **options)["train"]
    expected = told(exported, "preference")
    compare("preference", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        made = apply_chat_template(dict(row), tokenizer, "dpo", auto_insert_empty_system_msg=False)
        assert made["text_prompt"] == tokenizer.apply_chat_template(of["prompt"], tokenize=False)
        assert made["text_chosen"] == tokenizer.apply_chat_template(of["chosen"], tokenize=False)
        assert made["text_rejected"] == tokenizer.apply_chat_template(of["rejected"], tokenize=False)

    options = {"shuffle": False, "configs": ["sft"], "columns_to_keep": ["messages"]}
    read = get_datasets(mixed, splits=["train_sft"], **options)["train"]
    expected = told(exported, "sft")
    compare("sft", len(read), len(expected))
    for row, of in zip(read, expected, strict=True):
        made = apply_chat_template(dict(row), tokenizer, "sft", auto_insert_empty_system_msg=False)
        assert made["text"] == tokenizer.apply_chat_template([*of["prompt"], *of["completion"]], tokenize=False)


if __name__ == "__main__":
    main()
