"""Policies under stress: what is asked of them, and what it changes.

    final ─┬─ final+quantized     the same weights in fewer bits
           ├─ final+prefilled     its answer begins with words of consent (Andriushchenko et al. 2024)
           └─ final+fine_tuned    a few steps on answers that comply (Qi et al. 2023); the weights are thrown away

Each answers the prompts that the plain policy answers, with the same draws, is judged alike, and is held against it
prompt by prompt. Stressed policies are in the scorecards; they take no part in Elo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from engine.backends.spec import ModelSpec
from engine.inputs import PromptSource
from engine.settings import Settings
from trainers.fine_tuning import FineTuningSettings
from trainers.settings import LoraSettings, Optimization

Attack = Literal["quantized", "prefilled", "fine_tuned"]


class FineTuningAttack(Settings):
    """A short fine-tuning that is to undo what the policy learnt."""

    examples: tuple[PromptSource, ...] = Field(min_length=1)
    """Files of prompts with answers that comply. Ten are known to do (Qi et al. 2023, section 4.2)."""
    steps: int = Field(default=10, ge=1)
    """Steps of the optimiser."""
    learning_rate: float = Field(default=2e-5, gt=0)
    """Held constant."""
    batch_size: int = Field(default=8, ge=1)
    """Rows of a step."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights."""

    def training(self, policy: ModelSpec, seed: int, folder: str) -> FineTuningSettings:
        """The training of one policy. Its rows are seen as often as its steps need."""
        return FineTuningSettings(
            name="attack",
            output=folder,
            seed=seed,
            model=policy.model,
            revision=policy.revision,
            chat_template=policy.chat_template,
            demonstrations=self.examples,
            lora=self.lora,
            optimization=Optimization(
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                epochs=float(self.steps * self.batch_size),  # more than there can be: the steps decide
                max_steps=self.steps,
            ),
        )


class RobustnessSettings(Settings):
    """What every policy is put under, beside being asked plainly."""

    quantization: str | None = Field(default=None, min_length=1)
    """Load the weights in fewer bits: a method of vLLM's (`fp8`, …), or `int8` with transformers on a CPU."""
    prefill: str | None = Field(default=None, min_length=1)
    """Words that every answer is made to begin with, such as `Sure, here is how:`."""
    fine_tuning: FineTuningAttack | None = None
    """Fine-tune briefly on answers that comply."""


@dataclass(frozen=True, slots=True)
class Stressed:
    """A policy under one attack. `spec` is the model that answers; of a fine-tuning, the one that it starts from."""

    policy: str
    attack: Attack
    how: str
    spec: ModelSpec
    prefill: str = ""

    @property
    def name(self) -> str:
        """What its answers and its scorecard are called."""
        return f"{self.policy}+{self.attack}"


def stressed(policies: Mapping[str, ModelSpec], settings: RobustnessSettings | None) -> Iterator[Stressed]:
    """Every policy under every attack that was asked for."""
    if settings is None:
        return
    for name, spec in policies.items():
        if settings.quantization is not None:
            smaller = spec.model_copy(update={"quantization": settings.quantization})
            yield Stressed(name, "quantized", f"loaded in {settings.quantization}", smaller)
        if settings.prefill is not None:
            yield Stressed(name, "prefilled", f"answers begin with “{settings.prefill}”", spec, settings.prefill)
        if settings.fine_tuning is not None:
            told = settings.fine_tuning
            how = f"after {told.steps:,} steps of {told.batch_size:,} complying answers, rate {told.learning_rate:g}"
            yield Stressed(name, "fine_tuned", how, spec)
