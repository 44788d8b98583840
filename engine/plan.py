"""What a stage does, in a form that travels: settings, models, principles, templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from constitution import Constitution
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.chains import Chain, ReviseChain, SampleChain
from engine.comparing import CompareChain
from engine.earlier import Earlier
from engine.model import Model
from engine.settings import CompareSettings, ReviseSettings, SampleSettings, StageSettings
from engine.storage import StageStore
from prompts.rendering import PromptSet

ROLES = {ReviseSettings: ("responder", "critic", "reviser"), CompareSettings: ("responder", "judge")}
"""The roles of a stage. The model of the first one runs in the workers."""


class Plan(Protocol):
    """Everything a worker needs to know. Crosses Ray."""

    @property
    def store(self) -> StageStore:
        """Where the rows go."""
        ...

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """By role."""
        ...

    @property
    def rows(self) -> StageSettings:
        """How rows move."""
        ...

    @property
    def own_model(self) -> ModelSpec:
        """The model that runs in the workers."""
        ...

    def chain(self, models: Mapping[str, Model]) -> Chain:
        """The chain over opened models, by role."""
        ...


@dataclass(frozen=True)
class StagePlan:
    """The plan of a stage that a constitution governs: revise or compare."""

    store: StageStore
    settings: ReviseSettings | CompareSettings
    models: Mapping[str, ModelSpec]
    """By role."""
    constitution: Constitution
    prompts: PromptSet
    rows: StageSettings
    seed: int
    preamble: str = ""
    """What critics, revisers and judges are told first."""
    earlier: Earlier | None = None
    """What an earlier run of the compare stage found."""

    @property
    def own_model(self) -> ModelSpec:
        """The model that runs in the workers."""
        return self.models[ROLES[type(self.settings)][0]]

    def chain(self, models: Mapping[str, Model]) -> Chain:
        """The chain over opened models, by role."""
        if isinstance(self.settings, ReviseSettings):
            return ReviseChain(
                responder=models["responder"],
                critic=models["critic"],
                reviser=models["reviser"],
                prompts=self.prompts,
                constitution=self.constitution,
                settings=self.settings,
                seed=self.seed,
                preamble=self.preamble,
            )
        return CompareChain(
            responder=models["responder"],
            judge=models["judge"],
            prompts=self.prompts,
            constitution=self.constitution,
            settings=self.settings,
            seed=self.seed,
            preamble=self.preamble,
            earlier=self.earlier.open() if self.earlier else None,
        )


@dataclass(frozen=True)
class SamplePlan:
    """The plan of a stage that samples answers."""

    store: StageStore
    settings: SampleSettings
    own_model: ModelSpec
    prompts: PromptSet
    rows: StageSettings
    seed: int
    preprompts: Mapping[str, PromptSet] = field(default_factory=dict)
    prefill: str = ""
    """What every answer is made to begin with."""

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """By role."""
        return {"responder": self.own_model}

    def chain(self, models: Mapping[str, Model]) -> Chain:
        """The chain over opened models, by role."""
        return SampleChain(models["responder"], self.prompts, self.settings, self.seed, self.preprompts, self.prefill)


async def open_models(specs: Mapping[str, ModelSpec]) -> dict[str, Model]:
    """The models by role, each opened once however many roles it plays. Raises what opening them raises."""
    opened: list[tuple[ModelSpec, Model]] = []
    models: dict[str, Model] = {}
    for role, spec in specs.items():
        model = next((known for other, known in opened if other == spec), None)
        if model is None:
            model = await open_model(spec)
            opened.append((spec, model))
        models[role] = model
    return models
