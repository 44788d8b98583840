"""The seam to a model: two verbs. Where the model runs is nobody else's business.

    generate(messages, sampling) → completions          text, with its token counts and finish reason
    choose(messages, options)    → log-probabilities    of the options as the next token, and their mass

A conversation that ends with an assistant message is continued, not answered: `choose` is asked after
"The answer is: (", and a prefill is possible everywhere. The chat template of the model is applied here,
once, and gives the one BOS.

    ModelError
    ├── PromptTooLong         the conversation leaves no room for an answer in the model's window; the row's fault
    ├── TemplateRefused       the model's chat template does not take such a conversation; the row's fault
    ├── OptionsNotTokens      an option is not one token for this tokenizer; found before the run starts
    └── ModelUnavailable      the engine or server is gone, or did not answer in time

An answer that cannot be read as a verdict is no ModelError: see prompts/reading.py.
Backends: `engine/backends/`. The scripted one ships for tests and dry runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from constitution.faults import CharterError
from prompts.messages import Message


class ModelError(CharterError):
    """A call to a model failed."""


class PromptTooLong(ModelError):
    """The prompt and the tokens asked for do not fit the model's window. Never retried, never truncated."""


class TemplateRefused(ModelError):
    """The chat template refuses the conversation: a role it does not know, or roles out of order. Never retried."""


class OptionsNotTokens(ModelError):
    """An option is more than one token, or two options begin with the same token, for this tokenizer."""


class ModelUnavailable(ModelError):
    """The engine died, the server is gone, or it did not answer in time. Retried."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a completion is drawn. `temperature` 0 is greedy. The seed makes the draw repeatable, whatever
    else is in the batch. `stop` strings end the completion and are not part of it."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion. `text` is as decoded (special tokens and the stop string left out, not stripped)."""

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Raw log-probabilities of the options as the next token, in the order asked. Not normalised."""

    log_probabilities: tuple[float, ...]
    prompt_tokens: int
    cached_tokens: int = 0

    @property
    def mass(self) -> float:
        """The probability the options hold together, in [0, 1]."""
        return min(1.0, sum(math.exp(value) for value in self.log_probabilities))

    @property
    def probabilities(self) -> tuple[float, ...]:
        """The options' probabilities given that one of them is said: they sum to 1."""
        top = max(self.log_probabilities)
        weights = [math.exp(value - top) for value in self.log_probabilities]
        total = sum(weights)
        return tuple(weight / total for weight in weights)


class PromptCounter(Protocol):
    """The part of a model that needs no weights: what prompts cost and whether verdicts can be read."""

    name: str
    """The folder, hub id or served name that was asked for."""
    context_window: int
    """Prompt and answer together, in tokens."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the conversation as this model would be sent it."""
        ...

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """Raises OptionsNotTokens where `choose` could not read these options after `messages`.

        Without messages, the options are tried where a verdict is usually asked: after "The answer is: (".
        """
        ...


class Model(PromptCounter, Protocol):
    """What a chain sees of a model. Every method may be called from many coroutines of one event loop."""

    revision: str
    """What identifies the weights: a hub commit, or a content hash of a local folder."""

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One completion of the conversation.

        Raises PromptTooLong where prompt tokens + `sampling.max_tokens` exceed the window, TemplateRefused where
        the chat template does not take the messages, ModelUnavailable where the engine is gone.
        """
        ...

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """The log-probability of each option as the next token. One prefill, nothing decoded.

        Raises PromptTooLong, TemplateRefused, OptionsNotTokens, ModelUnavailable.
        """
        ...

    async def close(self) -> None:
        """Frees the engine. The model is not used afterwards."""
        ...
