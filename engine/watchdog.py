"""Noticing an engine that hangs: calls are waiting, and none has been answered for a long time.

    chain ──► Heard ──► Model            notes what is asked and answered
                └─ check() ◄── the worker, every few seconds; raises ModelUnavailable

One slow call is no hang while others are answered. A worker whose own engine hangs ends itself, as it does where the
engine dies: Ray starts it again, and the row that makes engines hang is found by running its batch one row at a time.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from engine.model import Choice, Completion, Model, ModelUnavailable, Sampling
from prompts.messages import Message

Answer = TypeVar("Answer")
LONGEST_LOOK = 10.0
"""Seconds that one look may add: a machine that slept, or a process that was stopped, had no time to answer."""


@dataclass
class Heard:
    """A Model that can say how long it has been silent. Not for several event loops."""

    model: Model
    seconds: float
    """How long it may leave every call without an answer."""
    clock: Callable[[], float] = time.monotonic
    silent: float = 0.0
    _waiting: int = 0
    _looked: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.name = self.model.name
        self.revision = self.model.revision
        self.context_window = self.model.context_window
        self._looked = self.clock()

    def check(self) -> None:
        """Raises ModelUnavailable where the model has been silent for too long. Call it every few seconds."""
        now = self.clock()
        elapsed, self._looked = now - self._looked, now
        self.silent = self.silent + min(elapsed, LONGEST_LOOK) if self._waiting else 0.0
        if self.silent >= self.seconds:
            raise ModelUnavailable(
                f"{self.name!r} hangs: it has left {self._waiting} calls without any answer for {self.silent:.0f} s "
                "(rows.stall_seconds says how long it may)"
            )

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As Model.generate."""
        return await self._noted(self.model.generate(messages, sampling))

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """As Model.choose."""
        return await self._noted(self.model.choose(messages, options))

    async def _noted(self, answer: Awaitable[Answer]) -> Answer:
        self._waiting += 1
        try:
            return await answer
        finally:
            self._waiting -= 1
            self.silent = 0.0

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """As Model.count_tokens."""
        return self.model.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """As Model.check_options."""
        self.model.check_options(options, messages)

    async def close(self) -> None:
        """As Model.close."""
        await self.model.close()


def heard(models: dict[str, Model], seconds: float) -> tuple[dict[str, Model], list[Heard]]:
    """The models by role, each of them watched once, and the watched ones."""
    watched = {id(model): Heard(model, seconds) for model in models.values()}
    return {role: watched[id(model)] for role, model in models.items()}, list(watched.values())
