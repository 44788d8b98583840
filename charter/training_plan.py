"""`--dry-run` of a training: its rows, steps, memory and time. Nothing of it stays.

The data is prepared as the training would. Memory is arithmetic over the model's configuration; time, where a pilot is
asked for, is that of a few real steps on this machine.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charter.training import TRAINERS, check_training
from engine.backends.folder import fetch, safetensors_header
from engine.progress import duration
from engine.storage import Folder

if TYPE_CHECKING:
    from trainers.launch import Prepared
    from trainers.settings import TrainingSettings

PILOT_STEPS = 3
GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """Bytes on one worker, all weights on each."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of it, in bytes."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Shape:
    """What of a model's configuration decides its memory."""

    parameters: int
    trained: int
    width: int
    layers: int


def memory(settings: TrainingSettings, shape: Shape, compute_bytes: int, beside: float) -> Memory:
    """What one worker needs that holds models with `beside` parameters which are not trained.

    Weights that are trained, their gradients and AdamW's two moments are float32. Activations are 34 bytes a token,
    width and layer in 16 bits, and 2 where they are computed again (Korthikanti et al. 2022, section 4, without the
    attention matrix, which is not kept).
    """
    frozen = shape.parameters if settings.lora else 0
    held = 0.55 if settings.lora and settings.lora.four_bit else compute_bytes
    tokens = settings.optimization.micro_batch_size * settings.max_length
    kept = 2 if settings.optimization.gradient_checkpointing else 34
    return Memory(
        weights=frozen * held + shape.trained * 4 + beside * compute_bytes,
        gradients=shape.trained * 4,
        optimizer=shape.trained * 8,
        activations=tokens * shape.width * shape.layers * kept * compute_bytes / 2,
    )


def parameters_in(folder: Path) -> int:
    """The numbers in a model folder's safetensors, by their headers."""
    headers = [safetensors_header(shard) for shard in folder.glob("*.safetensors")]
    entries = [entry for header in headers for name, entry in header.items() if name != "__metadata__"]
    return sum(math.prod(entry["shape"]) for entry in entries)


def held_parameters(settings: TrainingSettings) -> int:
    """Those of the models that every worker holds beside the trained one."""
    return sum(parameters_in(fetch(name, None, weights=True)) for name in settings.held_models)


def shape_of(settings: TrainingSettings) -> Shape:
    """Counts parameters without loading any: the model is built on PyTorch's meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from trainers.loading import lora_config

    config = AutoConfig.from_pretrained(fetch(settings.model, settings.revision, weights=False))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        parameters = trained = sum(each.numel() for each in model.parameters())
        if settings.lora:
            from peft import get_peft_model

            adapted = get_peft_model(model, lora_config(settings.lora, "CAUSAL_LM"))
            trained = sum(each.numel() for each in adapted.parameters() if each.requires_grad)
    text = config.get_text_config()
    return Shape(parameters, trained, text.hidden_size, text.num_hidden_layers)


def steps_of(settings: TrainingSettings, rows: int) -> int:
    """Steps of the optimiser over the rows."""
    how = settings.optimization
    return how.max_steps or math.ceil(how.epochs * math.ceil(rows * settings.rows_a_prompt / how.batch_size))


def tell_plan(kind: str, settings: TrainingSettings) -> None:
    """Prepares the data, tries a few steps, and prints what the training will take."""
    from trainers.launch import task_of

    check_training(kind, settings)
    with tempfile.TemporaryDirectory() as place:
        prepared = task_of(TRAINERS[kind][0]).prepare(settings, Folder(place), print)
        seconds = _pilot(kind, settings, Path(place))
    for line in _lines(settings, prepared, seconds):
        print(line)


def _pilot(kind: str, settings: TrainingSettings, folder: Path) -> float:
    """Seconds of one step, in this process."""
    from trainers.fitting import METRICS
    from trainers.launch import task_of

    how = settings.optimization.model_copy(update={"max_steps": PILOT_STEPS})
    checkpoints = settings.checkpoints.model_copy(update={"every": PILOT_STEPS + 1})
    pilot = settings.model_copy(update={"optimization": how, "checkpoints": checkpoints, "report_to": ()})
    task_of(TRAINERS[kind][0]).train(pilot, folder)
    entries = [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]
    return next(1 / float(entry["train_steps_per_second"]) for entry in entries if "train_steps_per_second" in entry)


def _lines(settings: TrainingSettings, prepared: Prepared, seconds: float) -> Iterator[str]:
    from trainers.launch import workers_of
    from trainers.loading import computation_dtype

    rows, workers = sum(prepared.rows.values()), workers_of(settings.launch)
    counted, unit = rows, "rows"
    if getattr(settings, "packing", False):  # blocks are nearly full
        counted, unit = math.ceil(prepared.tokens / settings.max_length), "blocks"
    steps = steps_of(settings, counted)
    shape = shape_of(settings)
    need = memory(settings, shape, computation_dtype(settings).itemsize, held_parameters(settings))
    made = ", ".join(f"{count:,} {kind}" for kind, count in prepared.rows.items())
    left = ", ".join(f"{count:,} {reason}" for reason, count in prepared.left_out.items() if count) or "none"
    yield f"rows      {rows:,} ({made}); left out: {left}"
    yield f"tokens    {prepared.tokens:,} a pass"
    yield f"model     {shape.parameters:,} parameters, {shape.trained:,} of them trained"
    yield f"steps     {steps:,} of {settings.optimization.batch_size} {unit}, on {workers} worker{'s' * (workers > 1)}"
    yield (
        f"memory    {need.total / GIB:.2f} GiB a worker: weights {need.weights / GIB:.2f}, gradients "
        f"{need.gradients / GIB:.2f}, optimiser {need.optimizer / GIB:.2f}, activations {need.activations / GIB:.2f}"
    )
    yield (
        f"time      {duration(seconds * steps / workers)}, from {PILOT_STEPS} steps on one worker here "
        f"({seconds:.2f} s each)"
    )
