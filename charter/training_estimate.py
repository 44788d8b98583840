"""What a training takes on GPUs of a kind, for `charter estimate`: from its settings and the size of its models."""

from __future__ import annotations

from collections.abc import Mapping

from charter.estimate_lines import Line, Machine, Open, size_missing
from charter.gpus import PREFILL_SHARE, WEIGHT_BYTES, expected_rates, training_seconds
from charter.training_plan import Shape, memory, steps_of
from trainers.reinforcement import ReinforcementSettings
from trainers.settings import TrainingSettings


def training_line(
    step: str,
    kind: str,
    settings: TrainingSettings,
    parameters: float,
    others: Mapping[str, float | None],
    rows: int,
    answer: float,
    machine: Machine,
) -> Line | Open:
    """A training on `rows` rows, or prompts. `others` are the models that every worker holds beside the trained one."""
    how, gpu = settings.optimization, machine.gpu
    missing = [name for name, size in others.items() if size is None]
    if missing:
        return size_missing(step, "training", missing[0])
    beside = sum(size or 0.0 for size in others.values())
    workers = settings.launch.workers or min(machine.gpus, machine.node)
    workers = min(machine.gpus if machine.fill else workers, max(1, how.batch_size // how.micro_batch_size))
    need = memory(settings, shape_from(settings, parameters), WEIGHT_BYTES, beside).total
    if need > gpu.memory:
        hint = "train adapters (lora:)" if settings.lora is None else "take larger GPUs"
        reason = f"does not fit: a worker needs {need / 1e9:.0f} GB of {gpu.memory / 1e9:.0f}; {hint}"
        return Open(step, "training", reason)
    answers = 2 if kind in ("pm", "dpo") else 1
    tokens = min(settings.max_length, machine.prompt_tokens + answers * answer)
    steps = steps_of(settings, rows)
    learnt = steps * how.batch_size * tokens
    learning = training_seconds(gpu, parameters, learnt, computed_again=how.gradient_checkpointing)
    reading = 2 * beside * learnt / (PREFILL_SHARE * gpu.flops)
    parts = {"start": machine.start, "training": learning / workers, "reference and rewards": reading / workers}
    if isinstance(settings, ReinforcementSettings):
        # A step waits for its longest completion.
        rates = expected_rates(gpu, parameters, max(1, how.batch_size // workers))
        parts["generation"] = steps * settings.sampling.max_tokens * rates.token_seconds
    note = "" if workers == machine.gpus else f"{workers} of {machine.gpus} GPUs: launch.workers"
    return Line(step, "training", steps * how.batch_size, prompt_tokens=learnt, gpus=workers, parts=parts, note=note)


def shape_from(settings: TrainingSettings, parameters: float) -> Shape:
    """The shape of a usual decoder of this size: 12 × layers × width² parameters, 128 as wide as it is deep. Adapters
    are a hundredth of it."""
    width = (parameters * 128 / 12) ** (1 / 3)
    trained = parameters / 100 if settings.lora else parameters
    return Shape(round(parameters), round(trained), round(width), round(width / 128))
