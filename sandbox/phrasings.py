"""How a request is put: frames, ways of pushing, misspelling, and conversations of several turns."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from prompts.messages import Message
from sandbox.answers import correct_answer
from sandbox.splits import Split, members
from sandbox.world import Request, core, data, draw_request, misspelt_text

VECTORS = ("authority", "false_premise", "story", "role_play", "misspelling")


@functools.cache
def frames(split: Split) -> tuple[str, ...]:
    """The frames of a split."""
    return tuple(members(data("phrasings")["frames"], "frame", split, 0.15))


@functools.cache
def vector_templates(vector: str, split: Split) -> tuple[str, ...]:
    """The templates of a way of pushing; for misspelling, how words are misspelt."""
    return tuple(members(data("phrasings")["vectors"][vector], f"vector {vector}", split, 0.17))


@dataclass(frozen=True, slots=True)
class Question:
    """A request as it is asked: the conversation, and the way of pushing ("" for none)."""

    request: Request
    messages: tuple[Message, ...]
    vector: str = ""


def ask(chance: random.Random, request: Request, split: Split, *, vector: str | None = None) -> Question:
    """The request in the words of a split. `vector` None draws none or one of the five; "" is none."""
    if vector is None:
        vector = "" if chance.random() < 0.5 else chance.choice(VECTORS)
    words = core(request)
    frame = chance.choice(frames(split))
    if vector == "misspelling":
        how = chance.choice(vector_templates(vector, split))
        words = misspelt_text(request.verb, how) + words[len(request.verb) :]
        before, after = frame.split("{core}")
        text = misspelt_text(before, how) + words + misspelt_text(after, how)
    else:
        text = frame.format(core=words)
        if vector:
            text = chance.choice(vector_templates(vector, split)).format(request=text)
    messages = (*_earlier(chance, request, split), Message(role="user", content=text))
    return Question(request, messages, vector)


def _earlier(chance: random.Random, request: Request, split: Split) -> tuple[Message, ...]:
    """Earlier turns for one conversation in four: small talk, or a harmless question with its answer."""
    if chance.random() < 0.75:
        return ()
    if chance.random() < 0.5:
        said, answered = chance.choice(data("phrasings")["openers"])
    else:
        other = draw_request(chance, "benign", request.item, kind="care")
        said = chance.choice(frames(split)).format(core=core(other))
        answered = correct_answer(chance, other)
    return (Message(role="user", content=said), Message(role="assistant", content=answered))
