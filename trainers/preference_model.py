"""A preference model learns labelled pairs: one score a conversation, higher for the answer that is preferred.

    data/train (trainers/pair_rows.py) ─► PreferenceTrainer ─► model/ ─► data/held_out ─► evaluation.json

The target is the label's probability itself (Bai et al. 2022, section 4.1), not the choice it leads to. Harmless,
helpful and joint models differ in their sources alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from constitution.faults import BadInput, Fault, check_all
from engine.backends.folder import fetch
from engine.settings import Settings
from engine.storage import Folder
from trainers.fitting import Outcome, fit, training_arguments
from trainers.launch import Prepared
from trainers.loading import check_training_model, load_tokenizer, load_weights, lora_config
from trainers.pair_rows import TRAIN, PairTrainingSettings, check_pairs, evaluated, prepare_pairs
from trainers.settings import Optimization
from trainers.shared_prefix import read_at_ends


class LossSettings(Settings):
    """What is learnt beside the labels."""

    safety: float = Field(default=0.0, ge=0)
    """The weight of an auxiliary loss that reads σ(score) as the probability that an answer is safe, as propositions
    found it (`chosen_bad`, `rejected_bad`). It gives a reward gate's threshold its meaning (Llama 2, table 28)."""
    centring: float = Field(default=0.0, ge=0)
    """The weight of a loss that keeps the mean score at zero; 0.01 is usual."""


class PreferenceModelSettings(PairTrainingSettings):
    """A preference model on labelled pairs."""

    loss: LossSettings = LossSettings()
    """What is learnt beside the labels."""
    optimization: Optimization = Optimization(learning_rate=1e-5, schedule="cosine", warmup=0.03, batch_size=64)
    """Rates, batches and steps; a batch counts pairs. Llama 2: one epoch of 512 pairs a batch at 1e-5."""


def check(settings: PreferenceModelSettings) -> None:
    """Raises BadInput with everything that can be seen without loading weights."""
    check_all(lambda: _check_model(settings), lambda: check_pairs(settings))


def _check_model(settings: PreferenceModelSettings) -> None:
    """A classifier with several labels has a head that gives no score."""
    check_training_model(settings)
    folder = fetch(settings.model, settings.revision, weights=False)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    labels = len(config.get("id2label") or {}) or 2
    if labels != 1 and any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        message = f"it is a classifier with {labels} labels, and a preference model gives one score"
        hint = "start from a language model, or from a preference model"
        raise BadInput(Fault(message, file=str(folder), where="model", hint=hint))


def prepare(settings: PreferenceModelSettings, folder: Folder, say: Callable[[str], None]) -> Prepared:
    """Holds out, mixes and tokenises the pairs, and writes them to `data/train` and `data/held_out`."""
    return prepare_pairs(settings, folder)


def train(settings: PreferenceModelSettings, folder: Path) -> Outcome:
    """Trains on `data/train`, in this process or as one worker of several, and measures on `data/held_out`."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, set_seed
    from trl import RewardConfig

    from trainers.preference_trainer import COLUMNS, PreferenceTrainer, rewards_of

    place = Folder(str(folder))
    table = place.read_table(TRAIN, list(COLUMNS))
    arguments = RewardConfig(**training_arguments(settings, folder), max_length=None)
    tokenizer = load_tokenizer(settings)
    tokenizer.pad_token = padding_token(tokenizer)
    set_seed(settings.seed)  # the head is drawn
    model = load_weights(settings, AutoModelForSequenceClassification, num_labels=1)
    trainer = PreferenceTrainer(
        read_at_ends(model),
        safety=settings.loss.safety,
        centring=settings.loss.centring,
        args=arguments,
        train_dataset=Dataset(table),
        processing_class=tokenizer,
        peft_config=lora_config(settings.lora, "SEQ_CLS") if settings.lora else None,
    )
    outcome = fit(trainer, settings, folder)
    if not trainer.is_world_process_zero():
        return outcome
    trained, size = trainer.accelerator.unwrap_model(trainer.model), settings.optimization.micro_batch_size
    figures = evaluated(place, lambda rows: rewards_of(trained, rows, size, share=trainer.may_share))
    return replace(outcome, figures={**outcome.figures, **figures})


def padding_token(tokenizer: Any) -> str:
    """A token to pad with that is not the end token where there is another: transformers reads a score at the last
    token that is not padding, and the end token is part of the conversation."""
    tokens = [tokenizer.pad_token, tokenizer.bos_token, tokenizer.unk_token, *tokenizer.all_special_tokens]
    return str(next((token for token in tokens if token and token != tokenizer.eos_token), tokenizer.eos_token))
