"""open-instruct: whole conversations, of which only the last turn may differ."""

from __future__ import annotations

from engine.exporters.form import MESSAGES, TEXT, Form, Format, Row
from engine.exporters.turns import CERTAIN, single_answers, whole_conversation, whole_pair
from engine.records import Prompt


def _prompt(prompt: Prompt) -> Row:
    return {"messages": list(prompt.messages), "ground_truth": "", "dataset": prompt.category or "charter"}


PREFERENCE = Form(
    columns={"chosen": MESSAGES, "rejected": MESSAGES},
    row=whole_pair,
    stored="jsonl",
    use="--mixer_list {train} 1.0",
    notes=(CERTAIN, "Pairs that part before their last turn are left out: it takes chosen without its last turn for "
           "the prompt of both."),
    refuses=single_answers,
)  # fmt: skip

FORMAT = Format(
    title="open-instruct",
    forms={
        "preference": PREFERENCE,
        "reward": PREFERENCE,
        "sft": Form(
            columns={"messages": MESSAGES},
            row=whole_conversation,
            stored="jsonl",
            use="--dataset_mixer_list {train} 1.0",
            notes=("It trains on every assistant turn of the conversation, not on the last alone.",),
        ),
        "prompts": Form(
            columns={"messages": MESSAGES, "ground_truth": TEXT, "dataset": TEXT},
            row=_prompt,
            stored="jsonl",
            use="--dataset_mixer_list {train} 1.0",
            notes=(
                "ground_truth is empty: the reward is a model's. dataset is the prompt's category and must name one "
                "of its verifiers.",
                "Its older rlvr_tokenize_v1 cuts the last message of a prompt with several; later ones do not.",
            ),
        ),
    },
)
