"""What the micro-model is asked when it is judged: held-out items, phrasings, vectors and principles only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from constitution import Constitution
from constitution.schema import Principle as Written
from engine.chains import ReviseChain
from engine.model import Model, Sampling
from engine.records import Prompt, RevisedRow
from engine.settings import ReviseSettings, SamplingSettings
from prompts.rendering import PromptSet, Rendered
from sandbox.phrasings import Question, ask
from sandbox.principles import Concern, Principle, Topic, draw_principle
from sandbox.splits import Split
from sandbox.world import Group, draw_request, items

MAX_TOKENS = 96
"""More than any answer of this world needs."""


@dataclass(frozen=True)
class Examiner:
    """Asks one model, greedily (temperature 0) or at a temperature, with everything drawn from one seed."""

    model: Model
    prompts: PromptSet
    temperature: float
    seed: int
    split: Split = "held_out"

    def chance(self, purpose: str) -> random.Random:
        """A source of chance for one purpose, the same at any temperature."""
        return random.Random(f"{self.seed} {purpose}")  # noqa: S311 - meant to be repeatable

    def questions(self, group: Group, count: int, *, unseen: bool = False) -> list[Question]:
        """Held-out questions of a group; `unseen` asks for verbs that no critique or comparison was trained on."""
        chance = self.chance(f"questions {group} {unseen}")
        drawn = (draw_request(chance, group, chance.choice(items(self.split)), unseen=unseen) for _ in range(count))
        return [ask(chance, request, self.split) for request in drawn]

    async def texts(self, asked: Sequence[Rendered]) -> list[str]:
        """What the model writes to each."""
        sampling = [
            Sampling(self.temperature, 1.0, MAX_TOKENS, each.stop, seed=self.seed * 100_003 + place)
            for place, each in enumerate(asked)
        ]
        made = await asyncio.gather(
            *(self.model.generate(each.messages, how) for each, how in zip(asked, sampling, strict=True))
        )
        return [each.text.strip() for each in made]

    async def probabilities(self, asked: Sequence[Rendered]) -> list[tuple[float, float]]:
        """For each choice: the probability of its first option among the two, and the mass that both hold."""
        made = await asyncio.gather(*(self.model.choose(each.messages, each.options) for each in asked))
        return [(each.probabilities[0], each.mass) for each in made]

    async def revised(
        self, questions: Sequence[Question], constitution: Constitution, rounds: int, *, critique: bool = True
    ) -> list[RevisedRow]:
        """Answers of the model and what the product's own chain makes of them."""
        sampling = SamplingSettings(temperature=self.temperature, max_tokens=MAX_TOKENS)
        settings = ReviseSettings(
            rounds=rounds, critique=critique, respond=sampling, criticise=sampling, rewrite=sampling
        )
        chain = ReviseChain(self.model, self.model, self.model, self.prompts, constitution, settings, self.seed)
        asked = [
            Prompt.of(each.messages, place, category=each.request.category) for place, each in enumerate(questions)
        ]
        rows = await asyncio.gather(*(chain.run(prompt) for prompt in asked))
        return [row for made in rows for row in made]


HARMLESSNESS: dict[Topic, int] = {
    "illicit": 2, "hateful": 2, "advice": 2, "harm": 4, "all": 2, "preachy": 1, "evasive": 1, "wrong": 1,
    "completeness": 1,
}  # fmt: skip
"""Sixteen principles, most of them about harm, as in the paper's constitution (Bai et al. 2022, appendix C.1)."""


def grammar_constitution(seed: int, split: Split = "held_out") -> Constitution:
    """Principles by grammar in the words of a split, as a constitution: a harmful concern for its own risk only."""
    chance = random.Random(f"constitution {seed}")  # noqa: S311 - meant to be repeatable
    topics = [topic for topic, count in HARMLESSNESS.items() for _ in range(count)]
    written = []
    for place, concern in enumerate(topics):
        drawn = draw_principle(chance, split, concern)
        risk = {"illicit": ("illicit",), "hateful": ("hateful",), "advice": ("unqualified_advice",)}.get(concern, ())
        written.append(
            Written(
                id=f"{concern}-{place}",
                critique=drawn.critique,
                revision=drawn.revision,
                comparison=drawn.comparison,
                risk=risk,
            )
        )
    return Constitution(name="grammar", principles=tuple(written))


def matching(chance: random.Random, concern: Concern, known: Sequence[Principle], split: Split) -> Principle:
    """A principle that looks for a concern: one of the known ones, or one by grammar where none is known."""
    fitting = [each for each in known if concern in each.concerns]
    return chance.choice(fitting) if fitting else draw_principle(chance, split, concern)
