"""Direct preference optimisation: a policy learns labelled pairs without a reward model and without sampling.

    data/train (trainers/pair_rows.py) ─► DirectPreferenceTrainer ─► model/ ─► data/held_out ─► evaluation.json

The offline alternative to reinforcement learning. The label is soft: the loss is least where the policy's implied
preference is the label's probability, so that unsure pairs pull less (a label of 1 is Rafailov et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from constitution.faults import check_all
from engine.storage import Folder
from trainers.fitting import Outcome, fit, training_arguments
from trainers.launch import Prepared
from trainers.loading import check_policy, load_tokenizer, load_weights, lora_config
from trainers.pair_rows import TRAIN, PairTrainingSettings, check_pairs, evaluated, prepare_pairs
from trainers.settings import Optimization


class DirectPreferenceSettings(PairTrainingSettings):
    """A policy on labelled pairs."""

    beta: float = Field(default=0.1, gt=0)
    """How strongly the policy is held to where it started: higher is closer."""
    optimization: Optimization = Optimization(learning_rate=5e-7, schedule="linear", warmup=0.1, batch_size=64)
    """Rates, batches and steps; a batch counts pairs."""

    @property
    def held_models(self) -> tuple[str, ...]:
        """The policy at the start, unless adapters are trained."""
        return (self.model,) if self.lora is None else ()


def check(settings: DirectPreferenceSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights."""
    check_all(lambda: check_policy(settings), lambda: check_pairs(settings))


def prepare(settings: DirectPreferenceSettings, folder: Folder, say: Callable[[str], None]) -> Prepared:
    """Holds out, mixes and tokenises the pairs, and writes them to `data/train` and `data/held_out`."""
    return prepare_pairs(settings, folder)


def train(settings: DirectPreferenceSettings, folder: Path) -> Outcome:
    """Trains on `data/train`, in this process or as one worker of several, and measures on `data/held_out`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig

    from trainers.direct_preference_trainer import COLUMNS, DirectPreferenceTrainer

    place = Folder(str(folder))
    arguments = DPOConfig(**training_arguments(settings, folder), beta=settings.beta, max_length=None)
    trainer = DirectPreferenceTrainer(
        load_weights(settings, AutoModelForCausalLM),
        args=arguments,
        train_dataset=Dataset(place.read_table(TRAIN, list(COLUMNS))),
        processing_class=load_tokenizer(settings),
        peft_config=lora_config(settings.lora, "CAUSAL_LM") if settings.lora else None,
    )
    outcome = fit(trainer, settings, folder)
    if not trainer.is_world_process_zero():
        return outcome
    return replace(outcome, figures={**outcome.figures, **evaluated(place, trainer.implied_rewards)})
