"""Prompts with their answers, out of any file that holds both: what the detectors and the reports read.

A row has a prompt column (text, a transcript, or messages) and a completion column (text or messages), or one column
with the whole conversation, whose last turn is the answer. The Constitutional AI paper's samples, with their
several answers to a prompt, are read as they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault, did_you_mean
from engine.inputs.conversations import MissingColumn, WrongShape, chat_messages, cut_answer, parse_transcript
from engine.inputs.rows import Row, read_rows
from engine.inputs.source import COMPRESSIONS, CONTAINERS, PromptSource, find_inputs
from prompts.messages import Message

PROMPT_COLUMNS = ("prompt", "question", "instruction", "query", "goal", "behavior", "rl_prompt", "messages")
CONVERSATIONS = ("messages", "conversation", "conversations", "transcript")
COMPLETION_COLUMNS = ("completion", "response", "answer", "output", "generation", "model_output", "chosen")
SAMPLES_COLUMN = "sampled_answers"
FAULTS_LISTED = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one prompt. `columns` are those of the row it came from."""

    messages: tuple[Message, ...]
    text: str
    source: str
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """What the user said last."""
        return next((each["content"] for each in reversed(self.messages) if each["role"] == "user"), "")


def read_answers(
    path: str, prompt_column: str | None = None, completion_column: str | None = None, limit: int | None = None
) -> list[Answer]:
    """All answers of a file, a folder of files, or a glob. An answer may be empty; a row without one is a fault.

    Raises BadInput with the first faults, each with its file and line, or where there is no row.
    """
    source = PromptSource(path=path)
    rows = itertools.chain.from_iterable(read_rows(item, source) for item in find_inputs(source))
    answers: list[Answer] = []
    faults: list[Fault] = []
    for row in itertools.islice(rows, limit):
        if isinstance(row, Fault):
            faults.append(row)
        else:
            try:
                answers.extend(_answers(row, prompt_column, completion_column))
            except MissingColumn as error:
                raise BadInput(row.fault(error.message, error.hint)) from None
            except WrongShape as error:
                faults.append(row.fault(error.message, error.hint))
        if len(faults) == FAULTS_LISTED:
            break
    if faults:
        raise BadInput(faults)
    if not answers:
        raise BadInput(Fault("there are no rows in it", file=path))
    return answers


def set_name(path: str) -> str:
    """What the answers of a file are called: its name without the endings that say how it is stored."""
    name = Path(path).name
    for ending in (*COMPRESSIONS, *CONTAINERS):
        name = name.removesuffix(ending)
    return name or path


def _answers(row: Row, prompt_column: str | None, completion_column: str | None) -> Iterator[Answer]:
    values = row.values
    if SAMPLES_COLUMN in values and completion_column is None:
        asked = _prompt(values, prompt_column)
        for text in _sampled(values[SAMPLES_COLUMN]):
            # The paper's samples end where the next human turn would begin.
            yield Answer(asked, text.removesuffix("\n\nHuman:").strip(), row.source, values)
        return
    whole = completion_column is None and _usual(values, COMPLETION_COLUMNS) is None and _usual(values, CONVERSATIONS)
    column = whole or column_of(values, completion_column, COMPLETION_COLUMNS, "--completion-column")
    value = values[column]
    if value is None:
        raise WrongShape(f"'{column}' is empty", "an answer that is an empty text is written as one")
    if isinstance(value, str) and not value.startswith(TRANSCRIPT):
        yield Answer(_prompt(values, prompt_column), value.strip(), row.source, values)
        return
    said = _messages(value, column)
    if any(message["role"] == "user" for message in said):
        messages, answer = cut_answer(said)
        yield Answer(tuple(messages), _last(answer), row.source, values)
    else:
        yield Answer(_prompt(values, prompt_column), _last(said), row.source, values)


TRANSCRIPT = ("\n\nHuman:", "\n\nAssistant:")


def _sampled(samples: object) -> list[str]:
    listed = samples if isinstance(samples, list) else [None]
    found = [each.get("sampled_string") if isinstance(each, dict) else None for each in listed]
    if not all(isinstance(text, str) for text in found):
        raise WrongShape(f"'{SAMPLES_COLUMN}' is due to be a list of objects with sampled_string")
    return [str(text) for text in found]


def _usual(values: Mapping[str, Any], known: tuple[str, ...]) -> str | None:
    names = {name.lower(): name for name in values}
    return next((names[name] for name in known if name in names), None)


def column_of(values: Mapping[str, Any], asked: str | None, known: tuple[str, ...], option: str) -> str:
    """The column that was asked for, or the first that has a usual name. Raises MissingColumn."""
    if asked is not None and asked not in values:
        raise MissingColumn(f"there is no column '{asked}'", did_you_mean(asked, values))
    found = asked or _usual(values, known)
    if found is None:
        columns = ", ".join(values) or "(none)"
        raise MissingColumn(f"none of the columns {columns} is one of {', '.join(known)}", f"name it with {option}")
    return found


def _prompt(values: Mapping[str, Any], asked: str | None) -> tuple[Message, ...]:
    column = column_of(values, asked, PROMPT_COLUMNS, "--prompt-column")
    value = values[column]
    messages = [Message(role="user", content=value)] if isinstance(value, str) else chat_messages(value, column)
    if isinstance(value, str) and value.startswith(TRANSCRIPT):
        messages = parse_transcript(value.removesuffix("\n\nAssistant:"))
    if not any(message["role"] == "user" for message in messages):
        raise WrongShape(f"'{column}' holds no user turn")
    return tuple(messages)


def _messages(value: Any, column: str) -> list[Message]:
    return parse_transcript(value) if isinstance(value, str) else chat_messages(value, column)


def _last(messages: list[Message]) -> str:
    return messages[-1]["content"].strip() if messages else ""
