"""What several forms make of a conversation, and the reasons why one of them cannot hold it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from engine.exporters.examples import Answer, Example, prompt_of
from engine.exporters.form import Row
from engine.pairs import Pair
from engine.products import RevisionExample
from engine.records import Prompt
from prompts.messages import Message

CERTAIN = "It takes every pair as certain: the label's probability goes along as a column that it does not read."
MARGIN = (
    "A margin is the least difference of rewards that the loss asks for. It is the nearest thing to a probability that "
    "it reads, and not the same: it pushes sure pairs apart, and never says that a pair is unsure."
)

SEVERAL_ANSWERS = "chosen and rejected part before their last turn"
NOT_ALTERNATING = "its turns do not alternate between user and assistant"
PLACEHOLDER = "a placeholder for an image, a video or a sound in the text"
SYSTEM = "it has a system message"
SEVERAL_TURNS = "it has several turns"
SPEAKER = "a speaker's mark, such as Human:, in the text"

PLACEHOLDERS = re.compile(r"<(?:image|video|audio)>")
SPEAKERS = re.compile(r"(?:\A|\n\n)(?:Human|Assistant):")

Reason = Callable[[Any], str | None]


def first_of(*reasons: Reason) -> Reason:
    """The first reason that applies."""
    return lambda example: next(filter(None, (reason(example) for reason in reasons)), None)


def answers_of(example: Example) -> list[tuple[Message, ...]]:
    """What the assistant says at the end: two answers of a pair, none of a prompt."""
    match example:
        case Pair():
            return [example.chosen, example.rejected]
        case RevisionExample() | Answer():
            return [example.completion]
        case Prompt():
            return []


def single_answers(example: Example) -> str | None:
    """The form holds one message an answer."""
    return SEVERAL_ANSWERS if any(len(answer) != 1 for answer in answers_of(example)) else None


def alternating(example: Example) -> str | None:
    """The form wants at most one system message in front, then user and assistant by turns, the user first."""
    roles = [message["role"] for message in split_system(prompt_of(example))[1]]
    expected = ["user" if place % 2 == 0 else "assistant" for place in range(len(roles))]
    return NOT_ALTERNATING if roles != expected else None


def no_placeholders(example: Example) -> str | None:
    """The loader takes certain words for pictures."""
    said = [*prompt_of(example), *(message for answer in answers_of(example) for message in answer)]
    return PLACEHOLDER if any(PLACEHOLDERS.search(message["content"]) for message in said) else None


def one_turn(example: Example) -> str | None:
    """The form holds one user message."""
    return SEVERAL_TURNS if len(split_system(prompt_of(example))[1]) != 1 else None


def no_system(example: Example) -> str | None:
    """The form has no place for a system message."""
    return SYSTEM if any(message["role"] == "system" for message in prompt_of(example)) else None


def no_speakers(example: Example) -> str | None:
    """A transcript could not be told from what is said in it."""
    said = [*prompt_of(example), *(message for answer in answers_of(example) for message in answer)]
    return SPEAKER if any(SPEAKERS.search(message["content"]) for message in said) else None


def split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """The system message in front, or "", and the other messages."""
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], messages[1:]
    return "", messages


def transcript(messages: Sequence[Message]) -> str:
    """hh-rlhf's text of a conversation, up to where the assistant speaks."""
    names = {"user": "Human", "assistant": "Assistant"}
    said = (f"\n\n{names[message['role']]}: {message['content']}" for message in messages)
    return "".join(said) + "\n\nAssistant:"


# Rows that several trainers read -------------------------------------------------------------------------------------


def explicit_pair(pair: Pair) -> Row:
    """A prompt and two answers, as messages."""
    return {"prompt": list(pair.prompt), "chosen": list(pair.chosen), "rejected": list(pair.rejected)}


def whole_pair(pair: Pair) -> Row:
    """Two conversations, as messages."""
    return {"chosen": [*pair.prompt, *pair.chosen], "rejected": [*pair.prompt, *pair.rejected]}


def prompt_and_completion(example: RevisionExample) -> Row:
    """A prompt and its answer, as messages."""
    return {"prompt": list(example.prompt), "completion": list(example.completion)}


def whole_conversation(example: RevisionExample) -> Row:
    """The conversation with the answer at its end, as messages."""
    return {"messages": [*example.prompt, *example.completion]}
