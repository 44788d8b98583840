"""Many rows side by side in one worker: a window, retries, and parts on disk every few seconds.

    batch ─► rows ──(window of rows_in_flight)──► chain ──► finished ──┬──► part on disk ──► tally to the driver
               ▲                                    │                  │
               └── again, up to `attempts` ◄── error ┴──► set aside ────┘

Every batch of the worker shares one window, so that slow rows of one batch do not leave the engine idle. Rows of the
next batch start as soon as there is room. A batch whose worker died twice is run one row at a time, each row's id
written down first: the row that kills the engine is then known, and set aside.

Nothing here knows Ray: engine/stages.py calls it inside an actor, tests call it directly.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from constitution.faults import BadInput, CharterError
from constitution.hashing import content_hash
from engine.chains import Chain
from engine.model import Model, ModelUnavailable, OptionsNotTokens, PromptTooLong, Sampling, TemplateRefused
from engine.records import Call, FailedRow, Prompt
from engine.settings import StageSettings
from engine.storage import StageStore
from engine.watchdog import Heard

# Trying these again cannot help: the row itself is the reason.
HOPELESS = (BadInput, PromptTooLong, TemplateRefused, OptionsNotTokens)
CAREFUL_AFTER = 2  # deaths of a batch's worker


SUMMED = (
    "finished", "failed", "retries", "calls", "prompt_tokens", "cached_tokens", "completion_tokens", "reused",
)  # fmt: skip


@dataclass
class Tally:
    """What happened since the last report. Sums over reports are exact, but for work that a crash lost."""

    finished: int = 0
    failed: int = 0
    retries: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reused: int = 0
    """Calls whose answers an earlier run had."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Comparisons by status, revised rows by flag."""

    def add(self, other: Tally) -> None:
        """Sums another report into this one."""
        for name in SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.statuses.update(other.statuses)

    def count(self, rows: Sequence[Any]) -> None:
        """Counts the output rows of one finished item."""
        self.finished += 1
        for row in rows:
            self.statuses.update([row.status] if hasattr(row, "status") else getattr(row, "flags", ()))
            for call in calls_in(row):
                if call.reused:
                    self.reused += 1
                    continue
                self.calls += 1
                self.prompt_tokens += call.prompt_tokens
                self.cached_tokens += call.cached_tokens
                self.completion_tokens += call.completion_tokens


def calls_in(row: Any) -> list[Call]:
    """Every call behind an output row, those of answers shared by several pairs with the pair they belong to."""
    if hasattr(row, "votes"):
        calls = [call for vote in row.votes for call in vote.calls] + [c.call for c in row.checks if c.call]
        # With n samples an answer stands in n - 1 pairs: it is counted with the pair that follows it.
        if row.response_b.sample == row.response_a.sample + 1:
            calls += [row.response_b.call] + ([row.response_a.call] if row.response_a.sample == 0 else [])
        return calls
    if hasattr(row, "calls"):
        return list(row.calls)
    sampled = hasattr(row, "responses")
    made = [*row.responses, *row.guided] if sampled else [row.response, *row.critiques, *row.revisions]
    return [item.call for item in made if item.call is not None]


@dataclass
class RowRunner:
    """Runs batches of prompts through a chain. One per worker; `run` may be called for many batches at once.

    `probe` is a model that should answer if the engine is alive; it decides whether a row that failed with
    ModelUnavailable is at fault, or its engine. The `watched` models may not hang.
    """

    chain: Chain
    store: StageStore
    settings: StageSettings
    probe: Sequence[Model]
    report: Callable[[Tally], None]
    watched: Sequence[Heard] = ()

    def __post_init__(self) -> None:
        self._window = asyncio.Semaphore(self.settings.rows_in_flight)
        self._alone = asyncio.Lock()

    async def run(self, prompts: Sequence[Prompt]) -> int:
        """Finishes every prompt of a batch, durably, and returns how many were done here.

        Raises ModelUnavailable where the engine is gone or hangs; what was finished until then is kept.
        """
        key = content_hash([prompt.item_id for prompt in prompts])
        done, number, deaths = self._earlier_tries(key)
        waiting = [prompt for prompt in prompts if prompt.item_id not in done]
        if deaths >= CAREFUL_AFTER:
            await self._one_by_one(key, number, waiting)
        else:
            await self._side_by_side(key, number, waiting)
        await asyncio.to_thread(self.store.join_parts, key)
        return len(waiting)

    async def _side_by_side(self, key: str, number: int, waiting: Sequence[Prompt]) -> None:
        tasks = {asyncio.ensure_future(self._row(prompt)) for prompt in waiting}
        try:
            while tasks:
                # Returns early only when every row is done: a part is written a few seconds at a time.
                finished, tasks = await asyncio.wait(tasks, timeout=self.settings.flush_seconds)
                await self._keep(key, number, [task.result() for task in finished])
                number += bool(finished)
                self._check()
        finally:
            for task in tasks:
                task.cancel()

    def _earlier_tries(self, key: str) -> tuple[set[str], int, int]:
        """What a batch's earlier tries finished, its next part number, and how often its worker died."""
        folder = self.store.folder.child("_unsealed/attempts")
        deaths = 0
        while folder.exists(f"{key}-{deaths}"):
            deaths += 1
        folder.write(f"{key}-{deaths}", b"")
        done, number = self.store.finished_in(key) if deaths else (set[str](), 0)
        return done, number, deaths

    async def _one_by_one(self, key: str, number: int, waiting: Sequence[Prompt]) -> None:
        folder = self.store.folder.child("_unsealed/attempts")
        async with self._alone:
            for prompt in waiting:
                if folder.exists(f"alone-{prompt.item_id}"):
                    error = ModelUnavailable("the engine died while it worked on this row alone")
                    outcome: _Outcome = _Outcome(prompt, (), _failed(prompt, error, self.settings.attempts), 0)
                else:
                    folder.write(f"alone-{prompt.item_id}", b"")
                    for _ in range(self.settings.rows_in_flight):
                        await self._window.acquire()
                    try:
                        outcome = await self._watched(prompt)
                    finally:
                        for _ in range(self.settings.rows_in_flight):
                            self._window.release()
                await self._keep(key, number, [outcome])
                number += 1

    def _check(self) -> None:
        for model in self.watched:
            model.check()

    async def _watched(self, prompt: Prompt) -> _Outcome:
        """One row, given up where a model hangs."""
        task = asyncio.ensure_future(self._attempts(prompt))
        try:
            while not (await asyncio.wait([task], timeout=self.settings.flush_seconds))[0]:
                self._check()
            return task.result()
        finally:
            task.cancel()

    async def _row(self, prompt: Prompt) -> _Outcome:
        async with self._window:
            return await self._attempts(prompt)

    async def _attempts(self, prompt: Prompt) -> _Outcome:
        for attempt in range(1, self.settings.attempts + 1):
            try:
                return _Outcome(prompt, tuple(await self.chain.run(prompt)), None, attempt - 1)
            except HOPELESS as error:
                return _Outcome(prompt, (), _failed(prompt, error, attempt), attempt - 1)
            except Exception as error:  # whatever a row does, the others go on
                if attempt == self.settings.attempts:
                    if isinstance(error, ModelUnavailable):
                        await self._raise_if_engine_is_gone(error)
                    return _Outcome(prompt, (), _failed(prompt, error, attempt), attempt - 1)
        raise AssertionError("the last attempt returns or raises")

    async def _raise_if_engine_is_gone(self, error: ModelUnavailable) -> None:
        for model in self.probe:
            try:
                await model.generate([{"role": "user", "content": "Hello"}], Sampling(temperature=0.0, max_tokens=1))
            except ModelUnavailable:
                raise error from None

    async def _keep(self, key: str, number: int, outcomes: Sequence[_Outcome]) -> None:
        if not outcomes:
            return
        rows = [row for outcome in outcomes for row in outcome.rows]
        failed = [outcome.failed for outcome in outcomes if outcome.failed is not None]
        await asyncio.to_thread(self.store.write_part, key, number, rows, failed)
        tally = Tally(failed=len(failed))
        for outcome in outcomes:
            tally.retries += outcome.retries
            if outcome.failed is None:
                tally.count(outcome.rows)
        self.report(tally)


@dataclass(frozen=True)
class _Outcome:
    prompt: Prompt
    rows: tuple[Any, ...]
    failed: FailedRow | None
    retries: int


def _failed(prompt: Prompt, error: Exception, attempts: int) -> FailedRow:
    message = str(error) if isinstance(error, CharterError) else f"{type(error).__name__}: {error}"
    return FailedRow(
        **prompt.carried(),
        error=type(error).__name__,
        message=message,
        attempts=attempts,
    )
