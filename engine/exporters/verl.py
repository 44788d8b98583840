"""verl: Parquet, chat messages for RL and SFT, plain text for its preference data set."""

from __future__ import annotations

import pyarrow as pa

from engine.exporters.form import MESSAGES, TEXT, WHOLE, Form, Format, Row, Split
from engine.exporters.turns import (
    CERTAIN,
    alternating,
    first_of,
    no_placeholders,
    no_speakers,
    no_system,
    single_answers,
    transcript,
    whole_conversation,
)
from engine.pairs import Pair
from engine.records import Prompt

REWARD_MODEL = pa.struct({"style": TEXT, "ground_truth": TEXT})
EXTRA_INFO = pa.struct({"split": TEXT, "index": WHOLE, "item_id": TEXT, "category": TEXT, "vector": TEXT})


def _pair(pair: Pair) -> Row:
    chosen, rejected = (f" {answer[0]['content']}" for answer in (pair.chosen, pair.rejected))
    return {"prompt": transcript(pair.prompt), "chosen": chosen, "rejected": rejected}


def _prompt(prompt: Prompt) -> Row:
    return {
        "data_source": "charter",
        "prompt": list(prompt.messages),
        "ability": prompt.category or "charter",
        "reward_model": {"style": "model", "ground_truth": ""},
        "extra_info": {
            "index": prompt.index,
            "item_id": prompt.item_id,
            "category": prompt.category,
            "vector": prompt.vector,
        },
    }


def _with_split(row: Row, split: Split) -> Row:
    return row | {"extra_info": {"split": split, **row["extra_info"]}}


PREFERENCE = Form(
    columns={"prompt": TEXT, "chosen": TEXT, "rejected": TEXT},
    row=_pair,
    stored="parquet",
    use='RMDataset("{train}", tokenizer)',
    notes=(
        CERTAIN,
        "Its preference class reads text and applies no chat template, so that a conversation is written as "
        "hh-rlhf writes it. Those with a system message, or with a speaker's mark in a text, are left out.",
        "verl has this class and no trainer that uses it; it puts a BOS before the answer, too.",
    ),
    refuses=first_of(single_answers, no_system, alternating, no_speakers),
)

FORMAT = Format(
    title="verl",
    forms={
        "preference": PREFERENCE,
        "reward": PREFERENCE,
        "sft": Form(
            columns={"messages": MESSAGES},
            row=whole_conversation,
            stored="parquet",
            use="data.train_files={train} data.val_files={test}",
            notes=(
                "It trains on every assistant turn of the conversation, not on the last alone.",
                "It takes <image> and <video> in a text for pictures; such rows are left out.",
            ),
            refuses=no_placeholders,
        ),
        "prompts": Form(
            columns={
                "data_source": TEXT,
                "prompt": MESSAGES,
                "ability": TEXT,
                "reward_model": REWARD_MODEL,
                "extra_info": EXTRA_INFO,
            },
            row=_prompt,
            stored="parquet",
            use="data.train_files={train} data.val_files={test}",
            notes=(
                "ground_truth is empty: the reward is a model's. ability is the prompt's category, and extra_info "
                "carries our keys to the reward function.",
                "Prompts longer than data.max_prompt_length are dropped by verl.",
                "It takes <image> and <video> in a text for pictures; such prompts are left out.",
            ),
            refuses=no_placeholders,
            carries=False,
            row_in_split=_with_split,
        ),
    },
)
