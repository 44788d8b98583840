"""Conversations with answers worth learning: out of a Charter run, or out of a file.

    run folder, stage 02_revise ──revisions(which)──┐
    file, folder, data set ──────demonstrations─────┴─► Demonstration ──encode──► Encoded ─► data/train

A row says where it came from. What is left out is counted by reason.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.backends.chat import Chat
from engine.inputs import PromptSource, read_prompts
from engine.model import TemplateRefused
from engine.records import Prompt, RevisedRow, as_table, from_row
from engine.settings import AnswerFlag
from engine.storage import Folder, StageStore
from prompts.messages import Message
from prompts.reading import leaks_template

Which = Literal["all", "final", "up_to_n"]
ANSWER_COLUMNS = ("completion", "reference", "response", "output", "answer", "chosen")
"""Where a row of a file has its answer, in the order they are looked for. `reference` is the end of a conversation."""
REVISE_STAGE = "02_revise"
TRAIN = "data/train"
"""The rows of a fine-tuning, in its run folder."""
ROWS_PER_PART = 5_000
NO_LOSS = -100
"""The label of a token that is read and not learnt, as PyTorch's cross-entropy has it."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation and the answer to learn. `kind` is the part of the mixture that it belongs to."""

    item_id: str
    kind: str
    origin: str
    prompt: tuple[Message, ...]
    completion: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A demonstration as tokens: the answer begins at `begins`. Four bytes a token, since all rows are held at once."""

    row: Demonstration
    tokens: array[int]
    begins: int


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A row of `data/train`: a demonstration, and the tokens that are trained on.

    `labels` is `input_ids` where the answer stands, and -100 before it.
    """

    item_id: str
    kind: str
    origin: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]


def revised_rows(run: str, where: str) -> tuple[StageStore, dict[str, Any]]:
    """The revise stage of a finished run, and the run's manifest. Raises BadInput where there is none."""
    folder = Folder(run)
    store = StageStore(folder, REVISE_STAGE, RevisedRow)
    if not folder.exists("manifest.json"):
        hint = "name the folder that `charter revise` or `charter run` wrote"
        raise BadInput(Fault("this is no run folder: it has no manifest.json", file=run, where=where, hint=hint))
    if not store.is_sealed:
        state = "is not finished" if folder.exists(f"stages/{REVISE_STAGE}") else "did not revise"
        hint = "finish it with --resume" if state == "is not finished" else "give its recipe a `revise:` section"
        raise BadInput(Fault(f"the run {state}", file=run, where=where, hint=hint))
    return store, folder.read_json("manifest.json")


def revisions(
    store: StageStore, which: Which, up_to: int | None, leave_out: Sequence[AnswerFlag], left_out: Counter[str]
) -> Iterator[Demonstration]:
    """The revised answers of a run, as demonstrations. What has a flag of `leave_out` is counted and not yielded."""
    for table in store.tables():
        for values in table.to_pylist():
            row = from_row(RevisedRow, values)
            for round_, text, flags in answers_of(row, which, up_to):
                reason = next((flag for flag in flags if flag in leave_out), None)
                if reason is not None:
                    left_out[reason] += 1
                    continue
                origin = f"{store.run.location} item {row.item_id} round {round_}"
                yield Demonstration(row.item_id, "revisions", origin, row.messages, text)


def answers_of(row: RevisedRow, which: Which, up_to: int | None) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Round, text and flags of a row's revised answers: the final one, all, or those of the first `up_to` rounds.

    Rounds that left the answer as it was add nothing: each text comes once, with the round that wrote it.
    """
    if which == "final":
        yield len(row.revisions), row.final or "", row.flags
        return
    seen: set[str] = set()
    for revision in row.revisions[: up_to if which == "up_to_n" else None]:
        if revision.text in seen:
            continue
        seen.add(revision.text)
        holds = {
            "empty": not revision.text,
            "truncated": revision.call is not None and revision.call.finish_reason == "length",
            "template_leak": leaks_template(revision.text) is not None,
            "unchanged": revision.text == row.response.text,
        }
        yield revision.round, revision.text, tuple(flag for flag, held in holds.items() if held)


def demonstrations(sources: Sequence[PromptSource], kind: str) -> Iterator[Demonstration]:
    """The rows of files, folders or data sets that hold an answer. Raises BadInput at the first that holds none."""
    for prompt in read_prompts(sources) if sources else ():
        yield Demonstration(prompt.item_id, kind, prompt.source, prompt.messages, _answer(prompt))


def _answer(prompt: Prompt) -> str:
    extra = json.loads(prompt.extra) if prompt.extra else {}
    column = next((name for name in ANSWER_COLUMNS if extra.get(name)), None)
    if column is None:
        message = f"the row has no answer among the columns {', '.join(extra) or '(none but the prompt)'}"
        hint = f"known: {', '.join(ANSWER_COLUMNS)}; or messages that end with the assistant's"
        raise BadInput(Fault(message, file=prompt.source, hint=hint))
    answer = extra[column]
    if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], dict):
        answer = answer[0].get("content")
    if not isinstance(answer, str) or not answer.strip():
        message, hint = f"'{column}' is no answer: text, or one assistant message, is due", "see docs/training.md"
        raise BadInput(Fault(message, file=prompt.source, hint=hint))
    return answer.strip()


def encode(
    rows: Iterable[Demonstration], chat: Chat, max_length: int, left_out: Counter[str], odd: Counter[str]
) -> Iterator[Encoded]:
    """The rows as tokens. The chat template is applied once and gives the one BOS.

    Rows longer than `max_length` or the model's window, and rows that the template refuses, are counted in
    `left_out`; rows whose prompt the template writes otherwise once it is answered, in `odd`.
    """
    longest = min(max_length, chat.context_window)
    for row in rows:
        try:
            asked = chat.encode(row.prompt)
            whole = chat.encode([*row.prompt, Message(role="assistant", content=row.completion)], closed=True)
        except TemplateRefused:
            left_out["refused by the chat template"] += 1
            continue
        if len(whole) > longest:
            left_out[f"longer than {longest} tokens"] += 1
            continue
        begins = shared_length(asked, whole)
        odd["prompts that the chat template writes otherwise once they are answered"] += begins < len(asked)
        yield Encoded(row, array("i", whole), begins)


def write_rows(rows: Sequence[Encoded], folder: Folder) -> None:
    """Writes `data/train`, with the loss on the answers only."""
    folder.delete(TRAIN)
    for number, start in enumerate(range(0, len(rows), ROWS_PER_PART)):
        part = as_table([_training_row(each) for each in rows[start : start + ROWS_PER_PART]], TrainingRow)
        for name in ("input_ids", "labels"):
            place = part.schema.get_field_index(name)
            part = part.set_column(place, name, part[name].cast(pa.list_(pa.int32())))
        folder.write_table(f"{TRAIN}/part-{number:05d}.parquet", part)


def _training_row(encoded: Encoded) -> TrainingRow:
    row, tokens = encoded.row, tuple(encoded.tokens)
    answer = (Message(role="assistant", content=row.completion),)
    labels = (*[NO_LOSS] * encoded.begins, *tokens[encoded.begins :])
    return TrainingRow(row.item_id, row.kind, row.origin, row.prompt, answer, tokens, labels)


def read_rows(folder: Folder, columns: list[str] | None = None) -> pa.Table:
    """The rows of `data/train`."""
    names = folder.names(TRAIN, ".parquet")
    return pa.concat_tables([folder.read_table(f"{TRAIN}/{name}", columns) for name in names])


def shared_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with in common."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def rows_hash(rows: Iterable[Demonstration]) -> str:
    """The content hash of what is learnt, in order."""
    return content_hash([content_hash([list(row.prompt), row.completion]) for row in rows])
