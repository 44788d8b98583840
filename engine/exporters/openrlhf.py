"""OpenRLHF: chat messages whose columns are named by flags."""

from __future__ import annotations

from engine.exporters.form import MESSAGES, TEXT, Form, Format, Row
from engine.exporters.turns import (
    CERTAIN,
    MARGIN,
    explicit_pair,
    no_placeholders,
    prompt_and_completion,
    whole_pair,
)
from engine.products import RevisionExample
from engine.records import Prompt

TEMPLATE = "Without --data.apply_chat_template the messages cannot be read."


def _demonstration(example: RevisionExample) -> Row:
    row = prompt_and_completion(example)
    return {"input": row["prompt"], "output": row["completion"]}


def _prompt(prompt: Prompt) -> Row:
    return {"input": list(prompt.messages), "label": "", "datasource": prompt.category or "charter"}


FORMAT = Format(
    title="OpenRLHF",
    forms={
        "preference": Form(
            columns={"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES},
            row=explicit_pair,
            stored="jsonl",
            use="--data.dataset {train} --data.apply_chat_template --data.prompt_key prompt",
            notes=(CERTAIN, TEMPLATE),
        ),
        "reward": Form(
            columns={"chosen": MESSAGES, "rejected": MESSAGES},
            row=whole_pair,
            stored="jsonl",
            use="--data.dataset {train} --data.apply_chat_template",
            notes=(CERTAIN, MARGIN, TEMPLATE, "It reads a margin with --model.margin_loss_enable."),
            takes_margin=True,
        ),
        "sft": Form(
            columns={"input": MESSAGES, "output": MESSAGES},
            row=_demonstration,
            stored="jsonl",
            use="--data.dataset {train} --data.apply_chat_template --data.input_key input --data.output_key output",
            notes=(TEMPLATE,),
        ),
        "prompts": Form(
            columns={"input": MESSAGES, "label": TEXT, "datasource": TEXT},
            row=_prompt,
            stored="jsonl",
            use="--data.prompt_dataset {train} --data.apply_chat_template --data.input_key input "
            "--data.label_key label",
            notes=(
                TEMPLATE,
                "label is empty: the reward is a model's. datasource is the prompt's category.",
                "It takes <image> in a text for a picture; such prompts are left out.",
            ),
            refuses=no_placeholders,
        ),
    },
)
