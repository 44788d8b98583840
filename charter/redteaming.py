"""Opens the models that write red-team prompts, puts them to work, and shows how far they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from charter.judge import counting
from engine.backends.spec import ModelSpec
from engine.plan import open_models
from engine.records import Prompt
from evaluation.judgements import is_harmless
from evaluation.redteam import EQUAL, Push, RedTeamPrompt, Seed, equal, pushed
from evaluation.redteam_writing import TRIES, Notebook, Tally, Writer
from evaluation.scorecard import NO_VECTOR


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be written: prompts and look-alikes for each risk category, and turns after the target's answers."""

    expand: int
    lookalikes: int
    follow_ups: int
    seed: int

    @property
    def needs_writer(self) -> bool:
        """Whether anything is."""
        return bool(self.expand or self.lookalikes or self.follow_ups)


@dataclass(frozen=True, slots=True)
class Written:
    """The seeds and what a writer made of them, pushed; what was left out, by reason; and what came of each kind."""

    prompts: Sequence[RedTeamPrompt]
    left_out: Mapping[str, int]
    tallies: Sequence[Tally]


def written(
    prompts: Sequence[Prompt],
    pushes: Sequence[Push],
    wanted: Wanted,
    writer: ModelSpec,
    target: ModelSpec,
    notebook: Path,
) -> Written:
    """Has the writer write.

    What the models say is kept in the notebook: after an interruption they are asked for what is missing. Raises
    BadInput where the notebook is something else, ModelUnavailable where a model is gone.
    """
    left_out: Counter[str] = Counter()
    tallies: list[Tally] = []

    async def work() -> list[RedTeamPrompt]:
        models = await open_models({"writer": writer, "target": target})
        try:
            with counting("asked of the writer", _most(prompts, wanted)) as told:
                asked = 0

                def hear(count: int) -> None:
                    nonlocal asked
                    asked += count
                    told(asked)

                author = Writer(models["writer"], Notebook(notebook), wanted.seed, left_out, tallies, hear)
                seeds = [Seed(prompt) for prompt in prompts]
                more = await author.expand("another", prompts, wanted.expand) if wanted.expand else []
                alike = await author.expand("lookalike", prompts, wanted.lookalikes, more) if wanted.lookalikes else []
                made = list(pushed([*seeds, *more, *alike], pushes))
                left_out[EQUAL] += equal([*seeds, *more, *alike], pushes, made)
                if not wanted.follow_ups:
                    return made
                starts = [each for each in made if each.prompt.vector == NO_VECTOR]
                return [*made, *await author.follow_ups(starts, models["target"], wanted.follow_ups)]
        finally:
            for model in {id(each): each for each in models.values()}.values():
                await model.close()

    return Written(asyncio.run(work()), left_out, tallies)


def _most(prompts: Sequence[Prompt], wanted: Wanted) -> int:
    """How many requests are asked for at most."""
    categories = {prompt.category for prompt in prompts if not is_harmless(prompt.category)}
    new = len(categories) * (wanted.expand + wanted.lookalikes)
    starts = len(prompts) + new if wanted.follow_ups else 0
    return TRIES * new + starts
