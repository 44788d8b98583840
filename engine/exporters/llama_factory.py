"""LLaMA-Factory: ShareGPT turns, and `dataset_info.json`, which names the files and their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from engine.exporters.examples import Answer
from engine.exporters.form import TEXT, YES_NO, DataFile, Form, Format, Kind, Row
from engine.exporters.turns import (
    CERTAIN,
    alternating,
    first_of,
    no_placeholders,
    single_answers,
    split_system,
)
from engine.pairs import Pair
from engine.products import RevisionExample
from engine.records import Prompt
from prompts.messages import Message

TURN = pa.struct({"from": TEXT, "value": TEXT})
TURNS = pa.list_(TURN)
NAMES = {"user": "human", "assistant": "gpt", "system": "system"}
USE = "dataset_dir: {folder}\ndataset: {name}"
SKIPPED = "Conversations whose turns do not alternate are left out, since it would skip them."
PICTURES = "It takes <image>, <video> and <audio> in a text for files; such rows are left out."

refuses = first_of(single_answers, alternating, no_placeholders)


def _turn(message: Message) -> Row:
    return {"from": NAMES[message["role"]], "value": message["content"]}


def _conversation(prompt: Sequence[Message]) -> Row:
    system, spoken = split_system(prompt)
    return {"system": system, "conversations": [_turn(message) for message in spoken]}


def _pair(pair: Pair) -> Row:
    return _conversation(pair.prompt) | {"chosen": _turn(pair.chosen[0]), "rejected": _turn(pair.rejected[0])}


def _demonstration(example: RevisionExample) -> Row:
    return _conversation([*example.prompt, *example.completion])


def _answer(answer: Answer) -> Row:
    return _conversation([*answer.prompt, *answer.completion]) | {"kto_tag": answer.label}


def _prompt(prompt: Prompt) -> Row:
    system, spoken = split_system(prompt.messages)
    said = [message["content"] for message in spoken]
    return {
        "system": system,
        "history": [list(exchange) for exchange in zip(said[:-1:2], said[1::2], strict=True)],
        "instruction": said[-1],
        "output": "",
    }


PREFERENCE = Form(
    columns={"system": TEXT, "conversations": TURNS, "chosen": TURN, "rejected": TURN},
    row=_pair,
    stored="jsonl",
    use=USE + "\nstage: dpo  # or rm",
    notes=(CERTAIN, SKIPPED, PICTURES),
    refuses=refuses,
)

COLUMNS: dict[Kind, dict[str, str]] = {
    "preference": {"messages": "conversations", "system": "system", "chosen": "chosen", "rejected": "rejected"},
    "reward": {"messages": "conversations", "system": "system", "chosen": "chosen", "rejected": "rejected"},
    "sft": {"messages": "conversations", "system": "system"},
    "prompts": {"prompt": "instruction", "response": "output", "history": "history", "system": "system"},
    "unpaired": {"messages": "conversations", "system": "system", "kto_tag": "kto_tag"},
}


def _dataset_info(files: Sequence[DataFile]) -> Mapping[str, object]:
    entries = {
        f"{file.kind}_{file.split}": {
            "file_name": file.name,
            "formatting": "alpaca" if file.kind == "prompts" else "sharegpt",
            **({"ranking": True} if file.kind in ("preference", "reward") else {}),
            "columns": COLUMNS[file.kind],
        }
        for file in files
    }
    return {"dataset_info.json": entries}


FORMAT = Format(
    title="LLaMA-Factory",
    forms={
        "preference": PREFERENCE,
        "reward": PREFERENCE,
        "sft": Form(
            columns={"system": TEXT, "conversations": TURNS},
            row=_demonstration,
            stored="jsonl",
            use=USE + "\nstage: sft",
            notes=(
                SKIPPED,
                PICTURES,
                "It trains on every assistant turn unless mask_history is set.",
            ),
            refuses=refuses,
        ),
        "prompts": Form(
            columns={"system": TEXT, "history": pa.list_(pa.list_(TEXT)), "instruction": TEXT, "output": TEXT},
            row=_prompt,
            stored="jsonl",
            use=USE + "\nstage: ppo",
            notes=(SKIPPED, PICTURES, "output is empty: the reward is a model's."),
            refuses=refuses,
        ),
        "unpaired": Form(
            columns={"system": TEXT, "conversations": TURNS, "kto_tag": YES_NO},
            row=_answer,
            stored="jsonl",
            use=USE + "\nstage: kto",
            notes=(SKIPPED, PICTURES),
            refuses=refuses,
        ),
    },
    beside=_dataset_info,
)
