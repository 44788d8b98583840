"""A few prompts through the real models in this process, without Ray: for `preview` and for `--dry-run`."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from charter.recipe import Recipe, check_recipe
from charter.run import plan_of, stages_of
from constitution.faults import CharterError
from engine.duplicates import DuplicateFinder
from engine.inputs import read_prompts
from engine.model import Choice, Completion, Model, Sampling
from engine.plan import StagePlan, open_models
from engine.records import Prompt
from prompts.messages import Message


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question as it was sent, and what came back."""

    messages: tuple[Message, ...]
    options: tuple[str, ...]
    answer: Completion | Choice


@dataclass
class Listener:
    """A model that passes every call on and remembers it."""

    model: Model
    heard: list[Exchange] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As Model.generate."""
        answer = await self.model.generate(messages, sampling)
        self.heard.append(Exchange(tuple(messages), (), answer))
        return answer

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """As Model.choose."""
        answer = await self.model.choose(messages, options)
        self.heard.append(Exchange(tuple(messages), tuple(options), answer))
        return answer


@dataclass(frozen=True)
class TrialRow:
    """What one stage made of one prompt: its rows or the error, and every exchange behind them."""

    stage: str
    prompt: Prompt
    rows: Sequence[Any]
    error: CharterError | None
    exchanges: tuple[Exchange, ...]
    seconds: float


def first_prompts(recipe: Recipe, count: int) -> list[Prompt]:
    """The first distinct prompts of a recipe."""
    prompts = DuplicateFinder(near_threshold=None).distinct(read_prompts(recipe.prompts))
    return list(itertools.islice(prompts, min(count, recipe.limit or count)))


def try_prompts(recipe: Recipe, prompts: Sequence[Prompt], *, together: bool) -> Iterator[TrialRow]:
    """Runs prompts through every stage of the recipe; nothing is written.

    `together` runs a stage's prompts side by side, as a run does; then `seconds` is the stage's time divided by their
    number. Raises what opening the models raises.
    """
    constitution, prompt_set = check_recipe(recipe)
    with asyncio.Runner() as runner:
        by_role = recipe.models_by_role(recipe.played_roles)
        opened = runner.run(open_models(by_role))
        try:
            for stage in stages_of(recipe):
                plan = plan_of(recipe, stage, constitution, prompt_set)
                yield from _try_stage(runner, plan, stage, opened, prompts, together=together)
        finally:
            for model in {id(model): model for model in opened.values()}.values():
                runner.run(model.close())


def _try_stage(
    runner: asyncio.Runner,
    plan: StagePlan,
    stage: str,
    opened: dict[str, Model],
    prompts: Sequence[Prompt],
    *,
    together: bool,
) -> Iterator[TrialRow]:
    async def one(prompt: Prompt) -> TrialRow:
        listeners = {role: Listener(opened.get(role, opened["responder"])) for role in plan.models}
        start = time.perf_counter()
        rows: Sequence[Any] = ()
        error = None
        try:
            rows = await plan.chain(listeners).run(prompt)
        except CharterError as raised:
            error = raised
        heard = tuple(exchange for listener in listeners.values() for exchange in listener.heard)
        return TrialRow(stage, prompt, rows, error, heard, time.perf_counter() - start)

    async def all_at_once() -> list[TrialRow]:
        return list(await asyncio.gather(*(one(prompt) for prompt in prompts)))

    if not together:
        for prompt in prompts:
            yield runner.run(one(prompt))
        return
    start = time.perf_counter()
    rows = runner.run(all_at_once())
    share = (time.perf_counter() - start) / max(len(rows), 1)
    for row in rows:
        yield TrialRow(row.stage, row.prompt, row.rows, row.error, row.exchanges, share)
