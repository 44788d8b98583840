"""NeMo-RL: ranked completions of a context, and OpenAI messages."""

from __future__ import annotations

import pyarrow as pa

from engine.exporters.form import MESSAGES, TEXT, WHOLE, Form, Format, Row
from engine.exporters.turns import CERTAIN, first_of, no_system, one_turn, whole_conversation
from engine.pairs import Pair
from engine.records import Prompt

COMPLETIONS = pa.list_(pa.struct({"rank": WHOLE, "completion": MESSAGES}))


def _pair(pair: Pair) -> Row:
    ranked = [
        {"rank": 0, "completion": list(pair.chosen)},
        {"rank": 1, "completion": list(pair.rejected)},
    ]
    return {"context": list(pair.prompt), "completions": ranked}


def _prompt(prompt: Prompt) -> Row:
    return {"input": prompt.messages[0]["content"], "output": ""}


PREFERENCE = Form(
    columns={"context": MESSAGES, "completions": COMPLETIONS},
    row=_pair,
    stored="jsonl",
    use="data: {train: {dataset_name: PreferenceDataset, data_path: {train}}}",
    notes=(CERTAIN,),
)

FORMAT = Format(
    title="NeMo-RL",
    forms={
        "preference": PREFERENCE,
        "reward": PREFERENCE,
        "sft": Form(
            columns={"messages": MESSAGES},
            row=whole_conversation,
            stored="jsonl",
            use="data: {train: {dataset_name: openai_format, data_path: {train}, chat_key: messages}}",
        ),
        "prompts": Form(
            columns={"input": TEXT, "output": TEXT},
            row=_prompt,
            stored="jsonl",
            use="data: {train: {dataset_name: ResponseDataset, data_path: {train}}, default: {env_name: YOURS}}",
            notes=(
                "Its RL data is one user text: prompts with several turns or a system message are left out.",
                "output is empty: the reward is a model's, and the environment is named in its configuration.",
            ),
            refuses=first_of(no_system, one_turn),
        ),
    },
)
