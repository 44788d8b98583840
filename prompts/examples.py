"""The few-shot examples: their schema.

A few-shot file is YAML with one key, `examples`. The files and what each example holds:

    critique_revise.yaml   conversation, response, critique_request, critique, revision_request, revision
    compare.yaml           conversation, first, second, question, better (A or B)
    reason.yaml            the same, and reasoning
    proposition.yaml       conversation, response, question, answer ("yes" or "no")

`few_shot_files.py` reads them; `paper_examples.py` reads the CAI paper's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prompts.messages import Message
from prompts.reading import NO_CHANGE


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Turn(_Strict):
    """One turn of an example's conversation: `user: text` or `assistant: text`."""

    user: str | None = None
    assistant: str | None = None

    @model_validator(mode="after")
    def one_speaker(self) -> Self:
        if (self.user is None) == (self.assistant is None):
            raise ValueError("a turn has one speaker: write either 'user: …' or 'assistant: …'")
        return self

    @property
    def message(self) -> Message:
        if self.user is not None:
            return {"role": "user", "content": self.user}
        return {"role": "assistant", "content": self.assistant or ""}


class _Example(_Strict):
    conversation: tuple[Turn, ...]
    """The turns before the response; the last is the user's."""

    @model_validator(mode="after")
    def user_and_assistant_alternate(self) -> Self:
        speakers = [turn.message["role"] for turn in self.conversation]
        wanted = ["user", "assistant"] * len(speakers)
        if speakers != wanted[: len(speakers)] or len(speakers) % 2 == 0:
            raise ValueError("user and assistant must alternate in 'conversation', and the user starts and ends it")
        return self

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple(turn.message for turn in self.conversation)


class CritiqueReviseExample(_Example):
    """A first response, its critique, and the response after it."""

    response: str = Field(min_length=1)
    critique_request: str = Field(min_length=1)
    critique: str = Field(min_length=1)
    revision_request: str = Field(min_length=1)
    revision: str = Field(min_length=1)

    @model_validator(mode="after")
    def no_change_changes_nothing(self) -> Self:
        if self.critique.strip() == NO_CHANGE and self.revision != self.response:
            raise ValueError(f"the critique says '{NO_CHANGE}', so 'revision' must repeat 'response' word for word")
        return self


class CompareExample(_Example):
    """Two responses, a question about them, and the better one."""

    first: str = Field(min_length=1)
    second: str = Field(min_length=1)
    question: str = Field(min_length=1)
    better: Literal["A", "B"]

    @property
    def answer_index(self) -> int:
        return 0 if self.better == "A" else 1


class ReasonExample(CompareExample):
    """A comparison with the reasons that lead to its verdict."""

    reasoning: str = Field(min_length=1)


class PropositionExample(_Example):
    """One response, a yes/no question about it, and what is true."""

    response: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: Literal["yes", "no"]

    @property
    def answer_index(self) -> int:
        return 0 if self.answer == "yes" else 1


class _File(_Strict):
    @model_validator(mode="after")
    def holds_an_example(self) -> Self:
        # A `min_length` would also complain of an empty list where the one example in it is wrong.
        if not getattr(self, "examples", ()):
            raise ValueError("'examples' is empty; write one, or delete the file to use ours")
        return self


class CritiqueReviseFile(_File):
    examples: tuple[CritiqueReviseExample, ...]


class CompareFile(_File):
    examples: tuple[CompareExample, ...]


class ReasonFile(_File):
    examples: tuple[ReasonExample, ...]


class PropositionFile(_File):
    examples: tuple[PropositionExample, ...]


@dataclass(frozen=True, slots=True)
class FewShots:
    """The examples of every kind of call. Empty ones are sent as no turns at all."""

    critique_revise: tuple[CritiqueReviseExample, ...] = ()
    compare: tuple[CompareExample, ...] = ()
    reason: tuple[ReasonExample, ...] = ()
    proposition: tuple[PropositionExample, ...] = ()
