"""A conversation as chat turns that every chat template accepts.

Some chat templates refuse two turns of one role in a row, an assistant that speaks first, or a system message after
the first place. So what is sent is: at most one system message, then user and assistant in strict alternation.
No text is lost or altered on the way: turns are joined, never cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from constitution.faults import BadInput, Fault
from prompts.messages import Message

ROLES = ("system", "user", "assistant")
BLANK_LINE = "\n\n"


def system_text(conversation: Sequence[Message]) -> str:
    """The system messages of a conversation, wherever they stand, joined by a blank line; "" where there is none."""
    return BLANK_LINE.join(message["content"] for message in conversation if message["role"] == "system")


def alternating(conversation: Sequence[Message]) -> tuple[Message, ...]:
    """The user and assistant turns in strict alternation: the first and the last are the user's.

    Turns of one role in a row are joined by a blank line (empty ones add nothing), and an empty user turn goes before
    an assistant that speaks first. System messages are left out: see `system_text`.

    Raises BadInput where a role is unknown, or the conversation does not end with a user turn: there would be nothing
    to answer.
    """
    turns: list[Message] = []
    for place, message in enumerate(conversation):
        role, content = message["role"], message["content"]
        if role not in ROLES:
            raise BadInput(_unknown_role(role, place))
        if role == "system":
            continue
        if turns and turns[-1]["role"] == role:
            texts = [text for text in (turns[-1]["content"], content) if text]
            turns[-1] = {"role": role, "content": BLANK_LINE.join(texts)}
        else:
            if not turns and role == "assistant":
                turns.append({"role": "user", "content": ""})
            turns.append(message)
    if not turns or turns[-1]["role"] != "user":
        found = "has no turn" if not turns else "ends with an assistant turn"
        raise BadInput(
            Fault(f"the conversation {found}, so there is nothing to answer", hint="end it with a user message")
        )
    return tuple(turns)


def checked(conversation: Sequence[Message]) -> Sequence[Message]:
    """The conversation as it is, for a transcript. Raises BadInput where it is empty or a role is unknown."""
    for place, message in enumerate(conversation):
        if message["role"] not in ROLES:
            raise BadInput(_unknown_role(message["role"], place))
    if not conversation:
        raise BadInput(Fault("the conversation has no turn", hint="give it at least one user message"))
    return conversation


def characters(messages: Iterable[Message]) -> int:
    """The length of the contents together."""
    return sum(len(message["content"]) for message in messages)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _unknown_role(role: object, place: int) -> Fault:
    return Fault(f"unknown role {role!r}", where=f"turn {place + 1}", hint=f"known: {', '.join(ROLES)}")
