"""The Alignment Handbook's own loading reads our export. Run by check.py, in its environment."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType

from readings import compare, given, told
from transformers import PreTrainedTokenizerFast


def main() -> None:
    package = ModuleType("alignment")  # its own __init__ downloads a benchmark
    package.__path__ = [str(distribution("alignment-handbook").locate_file("alignment"))]
    sys.modules["alignment"] = package
    data = importlib.import_module("alignment.data")
    get_datasets, apply_chat_template = data.get_datasets, data.apply_chat_template
    exported, model = given()
    template = (Path(model) / "chat_template.jinja").read_text()  # its transformers is older than the tokenizer's form
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=f"{model}/tokenizer.json", chat_template=template, bos_token="<s>", eos_token="<|end|>"
    )
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
