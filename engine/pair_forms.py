"""What a row of somebody else's preference data says: every form in which data sets and trainers write a pair.

    chosen, rejected             two whole conversations: hh-rlhf text, or message lists (TRL's implicit form, OpenRLHF,
                                 open-instruct, alignment-handbook)
    a prompt, chosen, rejected   two completions: text, one message or several (TRL's explicit form, OpenRLHF, verl,
                                 NeMo-RL, axolotl, LLaMA-Factory); the prompt is any of PROMPT_COLUMNS
    context, completions         completions with ranks (NeMo-RL)

A form is known by its columns. Texts are kept byte for byte. Nothing here opens a file: engine/pairs.py does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.inputs.conversations import (
    MissingColumn,
    WrongShape,
    chat_messages,
    parse_transcript,
    shared_turns,
)
from prompts.messages import Message

PROMPT_COLUMNS = ("prompt", "messages", "conversations", "conversation", "instruction", "input", "question", "query")
"""Looked for in this order, the first that is filled."""
TRANSCRIPT = ("\n\nHuman:", "\n\nAssistant:")
ACCEPTED = (
    "a pair is chosen and rejected, as whole conversations or beside a prompt in one of "
    f"{', '.join(PROMPT_COLUMNS)}; or context with completions and their ranks"
)


@dataclass(frozen=True, slots=True)
class SplitPair:
    """One prompt and its two completions, each of at least one message. `tied` says that they are ranked alike."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tied: bool = False


def read_foreign(values: Mapping[str, Any]) -> SplitPair:
    """The pair of one row. Raises MissingColumn where the columns are those of no form, WrongShape where they do not
    hold what they should."""
    if "context" in values and "completions" in values:
        return _ranked(values)
    missing = [name for name in ("chosen", "rejected") if name not in values]
    if missing:
        found = ", ".join(values) or "(none)"
        raise MissingColumn(f"there is no '{missing[0]}' among the columns {found}", ACCEPTED)
    prompt_column = next((name for name in PROMPT_COLUMNS if values.get(name) not in (None, "", [])), None)
    if prompt_column is None or _holds_whole_conversations(values, prompt_column):
        split = _whole(_conversation(values, "chosen"), _conversation(values, "rejected"))
        if split is None:
            split = _shared_text(values["chosen"], values["rejected"])
        return _with_system(split, values)
    is_transcript = _is_transcript(values[prompt_column])
    return _with_system(
        SplitPair(
            prompt=_prompt(values, prompt_column),
            chosen=_completion(values, "chosen", after_marker=is_transcript),
            rejected=_completion(values, "rejected", after_marker=is_transcript),
        ),
        values,
    )


def _is_transcript(value: object) -> bool:
    return isinstance(value, str) and value.startswith(TRANSCRIPT)


def _holds_whole_conversations(values: Mapping[str, Any], prompt_column: str) -> bool:
    """Whether `chosen` and `rejected` say the prompt again: lists that do not begin with the assistant, or transcripts
    that begin with the prompt's transcript."""
    prompt = values[prompt_column]
    sides = [values["chosen"], values["rejected"]]
    if all(isinstance(side, str) for side in sides):
        return _is_transcript(prompt) and all(side.startswith(prompt.rstrip()) for side in sides)
    return all(isinstance(side, list) and bool(side) for side in sides) and all(
        chat_messages(side[:1], name)[0]["role"] != "assistant"
        for name, side in zip(("chosen", "rejected"), sides, strict=True)
    )


def _conversation(values: Mapping[str, Any], column: str) -> list[Message] | None:
    """A whole conversation; None for a text without turns."""
    value = _filled(values, column)
    if isinstance(value, str):
        return parse_transcript(value) if value.startswith(TRANSCRIPT) else None
    return chat_messages([value] if isinstance(value, dict) else value, column)


def _whole(chosen: list[Message] | None, rejected: list[Message] | None) -> SplitPair | None:
    """The shared beginning of two conversations, up to its last user turn, and the rest of each.

    Where they share no user turn, the prompt is empty and each keeps all of its turns.
    """
    if chosen is None or rejected is None:
        return None
    shared = shared_turns(chosen, rejected)
    return SplitPair(tuple(chosen[:shared]), _at_least_one(chosen[shared:]), _at_least_one(rejected[shared:]))


def _at_least_one(turns: Sequence[Message]) -> tuple[Message, ...]:
    """An answer that is missing is an empty one."""
    return tuple(turns) or (Message(role="assistant", content=""),)


def _shared_text(chosen: object, rejected: object) -> SplitPair:
    """Two plain texts: what both begin with, back to white space, is the prompt, as in TRL's implicit form."""
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        raise WrongShape("one of chosen and rejected is text without turns, and the other is not", ACCEPTED)
    letters = enumerate(zip(chosen, rejected, strict=False))
    shared = next((number for number, (one, other) in letters if one != other), 0)
    while shared and not chosen[shared - 1].isspace():
        shared -= 1
    if not chosen[:shared].strip():
        return SplitPair((), _said(chosen), _said(rejected))
    return SplitPair((Message(role="user", content=chosen[:shared]),), _said(chosen[shared:]), _said(rejected[shared:]))


def _prompt(values: Mapping[str, Any], column: str) -> tuple[Message, ...]:
    """The conversation before the completions."""
    value = values[column]
    if isinstance(value, list):
        return tuple(chat_messages(value, column))
    if not isinstance(value, str):
        raise WrongShape(f"'{column}' is due to be text or a list of messages, {type(value).__name__} was found")
    if _is_transcript(value):
        turns = parse_transcript(value)
        ends_on_marker = turns[-1]["role"] == "assistant" and not turns[-1]["content"].strip()
        return tuple(turns[:-1] if ends_on_marker else turns)
    earlier = _history(values.get("history")) if column == "instruction" else ()
    context = values.get("input")
    if column == "instruction" and isinstance(context, str) and context:
        value = f"{value}\n{context}"  # as LLaMA-Factory joins them
    return (*earlier, Message(role="user", content=value))


def _history(value: Any) -> tuple[Message, ...]:
    """Earlier turns as alpaca files hold them: [[question, answer], …]."""
    turns: list[Message] = []
    for number, exchange in enumerate(value or []):
        match exchange:
            case [str(question), str(answer)]:
                turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
            case _:
                raise WrongShape(f"history[{number}] is due to be [question, answer]")
    return tuple(turns)


def _completion(values: Mapping[str, Any], column: str, *, after_marker: bool) -> tuple[Message, ...]:
    """What the assistant says. After a transcript's `Assistant:` one space is no part of it."""
    value = _filled(values, column)
    if isinstance(value, str):
        return _said(value.removeprefix(" ") if after_marker else value)
    return _at_least_one(chat_messages([value] if isinstance(value, dict) else value, column))


def _said(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


def _with_system(split: SplitPair, values: Mapping[str, Any]) -> SplitPair:
    """A column named `system` speaks first, unless the conversation has a system turn."""
    system = values.get("system")
    if not isinstance(system, str) or not system or (split.prompt and split.prompt[0]["role"] == "system"):
        return split
    return SplitPair((Message(role="system", content=system), *split.prompt), split.chosen, split.rejected, split.tied)


def _ranked(values: Mapping[str, Any]) -> SplitPair:
    """NeMo-RL: `context` messages and two `completions`, each with a rank, 0 the best."""
    completions = values["completions"]
    if not isinstance(completions, list) or not all(isinstance(each, dict) for each in completions):
        raise WrongShape("'completions' is due to be a list of {rank, completion}")
    if len(completions) != 2:
        raise WrongShape(f"'completions' holds {len(completions)}, and a pair is two")
    ranks = [each.get("rank") for each in completions]
    if not all(isinstance(rank, int) for rank in ranks):
        raise WrongShape("a completion has no rank", "0 is the best")
    better, worse = sorted(completions, key=lambda each: int(each["rank"]))
    return SplitPair(
        prompt=tuple(chat_messages(values["context"], "context")),
        chosen=_completion(better, "completion", after_marker=False),
        rejected=_completion(worse, "completion", after_marker=False),
        tied=ranks[0] == ranks[1],
    )


def _filled(values: Mapping[str, Any], column: str) -> Any:
    if values.get(column) is None:
        raise WrongShape(f"'{column}' is empty", ACCEPTED)
    return values[column]
