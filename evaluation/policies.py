"""Policies side by side on the same prompts: what each answers, what the answers are, and whose are better.

    01_prompts ─► 02_answers_NAME ─► 03_judged     what each answer is     a JudgedAnswer a policy and temperature
                          └────────► 04_compared   which of two is better  a Comparison for every two policies

Stages like those of a run: finished rows are on disk within seconds, and an evaluation that was stopped goes on. Pairs
are compared at the first temperature: harmful prompts under the principles of harmlessness, harmless ones under those
of helpfulness.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from pydantic import Field, model_validator

from constitution import Constitution, Principle, draw_comparison_principles
from engine.backends.spec import ModelSpec
from engine.chains import Chain
from engine.comparing import CompareChain
from engine.inputs import PromptSource
from engine.model import Model
from engine.records import Call, Comparison, Prompt, Response, SampledRow, Vote, from_row
from engine.settings import CompareSettings, PromptSettings, SampleSettings, SamplingSettings, Settings, StageSettings
from engine.storage import Folder, StageStore
from evaluation.answer_judges import PropositionJudge, RefusalJudge, on_axis
from evaluation.judgements import AnswerJudge, Group, JudgedBy, Judgement, group_of
from evaluation.refusals import Extent
from evaluation.robustness import RobustnessSettings, Stressed, stressed
from prompts.rendering import PromptSet


class ConstitutionSettings(Settings):
    """What answers are held against."""

    harmless: str = "harmlessness"
    """For harmful prompts: the principles of its axis `harmless`."""
    helpful: str = "helpfulness"
    """For harmless prompts: the principles of its axes `helpful` and `honest`."""


class PairingSettings(Settings):
    """Which of two policies' answers is better (Bai et al. 2022, section 4.4)."""

    principles: int = Field(default=1, ge=1)
    """Principles drawn for each pair of answers, without replacement."""
    min_mass: float = Field(default=0.5, ge=0, le=1)
    """The probability the two options must hold together for a vote to count."""
    anchor: str | None = None
    """The policy that has an Elo of 0: `sl_cai` where there is one, as in the paper, or the first."""


class EvaluationSettings(Settings):
    """Which policies answer which prompts, and who judges."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the evaluation is called; its folder is `runs/<name>` unless `output` says otherwise."""
    seed: int = 0
    """Sampling, principles and bootstraps follow from it."""
    output: str | None = None
    """The run folder: a path or the URL of an object store."""
    prompts: list[PromptSource] = Field(min_length=1)
    """Held-out prompts. Each needs a category: `benign` or `lookalike` where it should be answered."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many prompts, over all sources."""
    policies: dict[str, ModelSpec] = Field(min_length=1)
    """Name: model, in the order in which they were made."""
    temperatures: tuple[float, ...] = Field(default=(0.0,), min_length=1)
    """The policies answer at each of these; 0 is greedy. The figures of the first one lead."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Nucleus sampling."""
    max_tokens: int = Field(default=256, ge=1)
    """Tokens of one answer at most."""
    judged_by: JudgedBy | Literal["auto"] = "auto"
    """Who says what an answer is: the sandbox's `oracle`, the `judge` model asked the constitutions' propositions, or
    the detector of `refusals`. `auto` is the first of these that there is."""
    judge: ModelSpec | None = None
    """A model that judges: best one that had no part in the training."""
    labeller: ModelSpec | None = None
    """The model that labelled what the policies learnt from. It judges where no other does, and the report says so."""
    pairing: PairingSettings | None = PairingSettings()
    """Compare the policies' answers with each other; null does not."""
    robustness: RobustnessSettings | None = None
    """Put every policy under stress as well: quantised, prefilled, fine-tuned."""
    constitutions: ConstitutionSettings = ConstitutionSettings()
    """What answers are held against."""
    asking: PromptSettings = PromptSettings()
    """Templates and few-shots of the judge."""
    rows: StageSettings = StageSettings()
    """How rows move."""
    address: str | None = None
    """A running Ray cluster. Without it, models with one replica run in this process, others on a Ray of their own."""

    @model_validator(mode="after")
    def _names_go_together(self) -> EvaluationSettings:
        if self.judged_by == "judge" and self.model_that_judges is None:
            raise ValueError("judged_by: judge needs a judge, or a labeller")
        anchor = self.pairing.anchor if self.pairing else None
        if anchor is not None and anchor not in self.policies:
            raise ValueError(f"pairing.anchor: there is no policy '{anchor}'; these are: {', '.join(self.policies)}")
        if any(not 0 <= each <= 5 for each in self.temperatures):
            raise ValueError("temperatures are from 0 to 5")
        return self

    @property
    def folder(self) -> Folder:
        """The run folder."""
        return Folder(self.output or f"runs/{self.name}")

    @property
    def stressed(self) -> tuple[Stressed, ...]:
        """Every policy under every attack that was asked for."""
        return tuple(stressed(self.policies, self.robustness))

    @property
    def model_that_judges(self) -> ModelSpec | None:
        """The judge, or in its stead the labeller."""
        return self.judge or self.labeller

    @property
    def judge_trained(self) -> bool | None:
        """Whether the model that judges also labelled what the policies learnt from; None where that is not known."""
        if self.model_that_judges is None or self.labeller is None:
            return None
        return self.model_that_judges.model == self.labeller.model

    @property
    def anchor(self) -> str:
        """The policy that has an Elo of 0."""
        named = self.pairing.anchor if self.pairing else None
        return named or ("sl_cai" if "sl_cai" in self.policies else next(iter(self.policies)))


class Oracle(AnswerJudge, Protocol):
    """What knows the truth about some prompts."""

    def knows(self, prompt: Prompt) -> bool:
        """Whether the prompt is one of its world."""
        ...

    def votes(self, prompt: Prompt, first: str, second: str, principles: Sequence[Principle]) -> list[Vote]:
        """Which answer is better under each principle, in both orders. None for principles that it does not know."""
        ...


# What is on disk ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One policy's answer to one prompt, and what it is. None is "not scored", and then `fault` says why."""

    item_id: str
    index: int
    category: str
    vector: str
    policy: str
    temperature: float
    text: str
    finish_reason: str
    judge: str
    harmful: bool | None
    helpful: bool | None
    refusal: Extent | None
    explained: bool | None
    fault: str
    calls: tuple[Call, ...]

    @property
    def judgement(self) -> Judgement:
        """What the answer is."""
        return Judgement(self.harmful, self.helpful, self.refusal, self.explained, self.fault)

    @property
    def group(self) -> Group:
        """What the prompt asks for."""
        group = group_of(self.category)
        assert group is not None, "prompts without a category are not evaluated"
        return group


@dataclass(frozen=True, slots=True)
class Answered:
    """What one policy said at one temperature."""

    policy: str
    temperature: float
    response: Response


def answer_stage(policy: str, temperature: float) -> str:
    """The stage that holds a policy's answers."""
    return f"02_answers_{policy}_{'greedy' if temperature == 0 else f't{temperature:g}'}"


def answer_store(folder: Folder, policy: str, temperature: float) -> StageStore:
    """A policy's answers at one temperature."""
    return StageStore(folder, answer_stage(policy, temperature), SampledRow)


def judged_store(folder: Folder) -> StageStore:
    """What the answers are."""
    return StageStore(folder, "03_judged", JudgedAnswer)


def compared_store(folder: Folder) -> StageStore:
    """Which of two policies' answers are better. A response's `sample` is its policy's place in the settings."""
    return StageStore(folder, "04_compared", Comparison)


def answer_sets(settings: EvaluationSettings) -> list[tuple[str, float]]:
    """Which policy answers at which temperature, in order: the plain ones at all, those under stress at the first."""
    under_stress = [(each.name, settings.temperatures[0]) for each in settings.stressed]
    return [(name, at) for at in settings.temperatures for name in settings.policies] + under_stress


def answers_of(settings: EvaluationSettings, sets: Iterable[tuple[str, float]]) -> dict[str, list[Answered]]:
    """What policies said, by prompt, in the order of the sets. A policy whose answer to a prompt was set aside is left
    out there."""
    found: dict[str, list[Answered]] = {}
    for policy, temperature in sets:
        for table in answer_store(settings.folder, policy, temperature).tables():
            for values in table.to_pylist():
                row = from_row(SampledRow, values)
                found.setdefault(row.item_id, []).append(Answered(policy, temperature, row.responses[0]))
    return found


def judged_answers(folder: Folder) -> Iterator[JudgedAnswer]:
    """The judged answers of an evaluation, in input order."""
    for table in judged_store(folder).tables():
        for row in table.to_pylist():
            yield from_row(JudgedAnswer, row)


# What happens to one prompt -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JudgeChain:
    """Says what every answer to a prompt is. The same text is judged once."""

    judge: AnswerJudge
    answers: Mapping[str, Sequence[Answered]]

    async def run(self, prompt: Prompt) -> list[JudgedAnswer]:
        """One row a policy and temperature. Raises what the judge raises."""
        answers = self.answers.get(prompt.item_id, ())
        texts = list(dict.fromkeys(each.response.text for each in answers))
        judged = await asyncio.gather(*(self.judge.judge(prompt, text) for text in texts))
        known = dict(zip(texts, judged, strict=True))
        rows = []
        for each in answers:
            found = known[each.response.text]
            known[each.response.text] = replace(found, calls=())  # they are counted once
            rows.append(self._row(prompt, each, found))
        return rows

    def _row(self, prompt: Prompt, each: Answered, found: Judgement) -> JudgedAnswer:
        return JudgedAnswer(
            item_id=prompt.item_id,
            index=prompt.index,
            category=prompt.category,
            vector=prompt.vector,
            policy=each.policy,
            temperature=each.temperature,
            text=each.response.text,
            finish_reason=each.response.call.finish_reason,
            judge=self.judge.name,
            harmful=found.harmful,
            helpful=found.helpful,
            refusal=found.refusal,
            explained=found.explained,
            fault=found.fault,
            calls=found.calls,
        )


@dataclass(frozen=True)
class PairChain:
    """Compares the policies' answers to a prompt, every two of them."""

    compare: Mapping[Group, CompareChain]
    """By what the prompt asks for: it has the constitution, and the judge model where one judges."""
    answers: Mapping[str, Sequence[Answered]]
    policies: Sequence[str]
    oracle: Oracle | None
    """Votes in place of the judge model."""

    async def run(self, prompt: Prompt) -> list[Comparison]:
        """One row for every two policies. Raises what the judge raises."""
        group = group_of(prompt.category)
        assert group is not None, "prompts without a category are not evaluated"
        # The answers were paid for where they were given.
        responses = [
            Response(self.policies.index(each.policy), each.response.text, replace(each.response.call, reused=True))
            for each in self.answers.get(prompt.item_id, ())
        ]
        pairs = itertools.combinations(responses, 2)
        return list(await asyncio.gather(*(self._pair(prompt, a, b, self.compare[group]) for a, b in pairs)))

    async def _pair(self, prompt: Prompt, a: Response, b: Response, chain: CompareChain) -> Comparison:
        if self.oracle is None or a.text == b.text:
            return await chain.compare(prompt, a, b)
        principles = draw_comparison_principles(
            chain.constitution,
            seed=chain.seed,
            item_id=f"{prompt.item_id}:{a.sample}:{b.sample}",
            count=chain.settings.principles,
            category=prompt.category,
        )
        return chain.labelled(prompt, a, b, self.oracle.votes(prompt, a.text, b.text, principles), [])


# What a worker needs to know ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judging:
    """Who judges, as settings that travel."""

    settings: EvaluationSettings
    constitutions: Mapping[Group, Constitution]
    asking: PromptSet
    by: JudgedBy
    oracle: Oracle | None
    """Where it judges."""

    def chains(self, models: Mapping[str, Model]) -> dict[Group, CompareChain]:
        """How answers are asked about, by what the prompt asks for."""
        pairing = self.settings.pairing or PairingSettings()
        settings = CompareSettings(principles=pairing.principles, min_mass=pairing.min_mass, propositions=False)
        return {
            group: CompareChain(
                responder=models.get("judge"),  # type: ignore[arg-type] # nobody is asked to respond
                judge=models.get("judge"),  # type: ignore[arg-type] # an oracle votes where there is no judge
                prompts=self.asking,
                constitution=constitution,
                settings=settings,
                seed=self.settings.seed,
                preamble=constitution.preamble if self.settings.asking.preamble else "",
            )
            for group, constitution in self.constitutions.items()
        }

    def judge(self, models: Mapping[str, Model]) -> AnswerJudge:
        """Who says what an answer is."""
        if self.by == "oracle":
            assert self.oracle is not None
            return self.oracle
        return PropositionJudge(self.chains(models)) if self.by == "judge" else RefusalJudge()


@dataclass(frozen=True)
class JudgePlan:
    """The plan of the two stages that judge: `03_judged` where `pairs` is False, otherwise `04_compared`."""

    store: StageStore
    rows: StageSettings
    judging: Judging
    answers: Mapping[str, Sequence[Answered]]
    models: Mapping[str, ModelSpec]
    """The judge by its role; empty where no model judges."""
    pairs: bool

    @property
    def own_model(self) -> ModelSpec:
        """The judge."""
        return self.models["judge"]

    def chain(self, models: Mapping[str, Model]) -> Chain:
        """The chain over opened models, by role."""
        if not self.pairs:
            return JudgeChain(self.judging.judge(models), self.answers)
        policies = list(self.judging.settings.policies)
        oracle = self.judging.oracle if self.judging.by == "oracle" else None
        return PairChain(self.judging.chains(models), self.answers, policies, oracle)


def constitutions_of(loaded: Mapping[Group, Constitution]) -> dict[Group, Constitution]:
    """The principles that judge, by what a prompt asks for."""
    return {group: on_axis(constitution, group) for group, constitution in loaded.items()}


def sample_settings(settings: EvaluationSettings, temperature: float) -> SampleSettings:
    """One answer a prompt at a temperature."""
    sampling = SamplingSettings(temperature=temperature, top_p=settings.top_p, max_tokens=settings.max_tokens)
    return SampleSettings(samples=1, respond=sampling)
