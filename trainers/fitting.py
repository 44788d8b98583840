"""What every trainer's `train` shares: arguments, checkpoints that survive a kill, metrics, and the finished model.

    train(settings, folder) ─► a TRL or transformers Trainer ─► fit ─► checkpoints/, metrics.jsonl, model/ ─► Outcome

`train` is called in the user's process, or in every worker of a Ray Train job: all of them see the same folder, and
the first one writes to it. A checkpoint counts once its marker is there, so that one cut off by a kill is never read.
"""

from __future__ import annotations

import json
import math
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from constitution.faults import BadInput, CharterError, Fault
from engine.backends.folder import safetensors_header
from trainers.loading import computation_dtype, load_weights
from trainers.settings import TrainingSettings
from trainers.trackers import telling

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
MODEL = "model"
COMPLETE = "COMPLETE"
"""The file that is written into a checkpoint last."""


# The older name of the two is deprecated where the newer one is known.
_CHECKPOINTING = (
    "activation_checkpointing" if hasattr(TrainingArguments, "activation_checkpointing") else "gradient_checkpointing"
)


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    model: str
    """The folder with the trained model."""
    steps: int
    """Steps of the optimiser, those before an interruption included."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured, by name: losses, accuracies, shares."""


class NotFinite(CharterError):
    """The loss or a gradient is no number."""


class OutOfMemory(CharterError):
    """A step does not fit the memory."""


def training_arguments(settings: TrainingSettings, folder: Path) -> dict[str, Any]:
    """What every TRL trainer's configuration is told, as keyword arguments."""
    _be_quiet()
    how = settings.optimization
    workers = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    micro, accumulation = micro_batches(how.batch_size, how.micro_batch_size, workers)
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "learning_rate": how.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if how.schedule == "constant" else how.schedule,
        "warmup_steps": how.warmup,  # a share where it is below 1
        "weight_decay": how.weight_decay,
        "max_grad_norm": how.max_grad_norm,
        "num_train_epochs": how.epochs,
        "max_steps": how.max_steps or -1,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        _CHECKPOINTING: how.gradient_checkpointing,
        "seed": settings.seed,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": computation_dtype(settings) == torch.bfloat16,
        "save_strategy": "steps",
        "save_steps": settings.checkpoints.every,
        "save_total_limit": settings.checkpoints.keep,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(settings.report_to) or "none",
        "run_name": settings.name,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        "ddp_find_unused_parameters": False,
    }


def _be_quiet() -> None:
    """The libraries' bars and hints stay off the terminal: progress is told by the driver."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)


def micro_batches(batch_size: int, micro_batch_size: int, workers: int) -> tuple[int, int]:
    """Rows that a worker computes at once, and how often before a step, so that the step's batch is exact.

    The rows at once are the most that divide a worker's share. Raises ValueError where the workers cannot share the
    batch evenly.
    """
    if batch_size % workers:
        raise ValueError(f"a batch of {batch_size} rows cannot be shared evenly by {workers} workers")
    share = batch_size // workers
    micro = next(size for size in range(min(micro_batch_size, share), 0, -1) if share % size == 0)
    return micro, share // micro


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run folder."""
    whole = [marker.parent for marker in (folder / CHECKPOINTS).glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]), default=None)


def _check_checkpoint(checkpoint: Path, model: torch.nn.Module) -> None:
    """Raises BadInput where a checkpoint that was whole has been damaged since, or is another model's."""
    weights = list(checkpoint.glob("*.safetensors"))
    missing = [name for name in ("trainer_state.json", "optimizer.pt") if not (checkpoint / name).is_file()]
    message = f"it lacks {', '.join(missing)}" if missing else "" if weights else "it holds no weights"
    # peft leaves the adapter's name out of what it saves.
    shapes = {name.replace(".default.", "."): list(tensor.shape) for name, tensor in model.state_dict().items()}
    for file in weights:
        try:
            saved = {name: entry["shape"] for name, entry in safetensors_header(file).items() if "shape" in entry}
        except (ValueError, OSError) as error:
            message = f"{file.name} is damaged: {error}"
            continue
        for name in saved.keys() & shapes.keys():
            if saved[name] != shapes[name]:
                message = f"it is another model's: {name} has the shape {saved[name]}, and in the model {shapes[name]}"
    if message:
        hint = "delete this checkpoint's folder to go on from the one before it"
        raise BadInput(Fault(message, file=str(checkpoint), hint=hint))


class _Marker(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint when every worker has written its part."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class _Metrics(TrainerCallback):  # type: ignore[misc]
    """Appends what is measured to `metrics.jsonl`, and ends a training whose loss is no number.

    A training that goes on from a checkpoint first cuts off what was written after it.
    """

    def __init__(self, file: Path, resumed_at: int) -> None:
        self._file = file
        self._resumed_at = resumed_at

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
            kept = [line for line in lines if _step_of(line) <= self._resumed_at]
            self._file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            entry = {"step": state.global_step, "steps": state.max_steps, **logs}
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(_finite(entry)) + "\n")
        for name in ("loss", "grad_norm"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise NotFinite(
                    f"the {name} is {value} at step {state.global_step}; the learning rate may be too high, or a row "
                    f"broken. The checkpoints before it stay; start anew in another folder with other settings"
                )


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62  # a line cut off by a kill


def _finite(entry: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: such a value is written as null."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in entry.items()}


class _Interrupted(TrainerCallback):  # type: ignore[misc]
    """Ctrl-C and SIGTERM: the step is finished, a checkpoint is written, and the training ends."""

    def __init__(self) -> None:
        self.asked = False

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.asked:
            control.should_save = True
            control.should_training_stop = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes the signals for the length of a training. The second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread() or torch.distributed.is_initialized():
            yield  # a worker of Ray's: the driver is asked, and the last checkpoint stays
            return

        def ask(signum: int, frame: FrameType | None) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def fit(trainer: Any, settings: TrainingSettings, folder: Path) -> Outcome:
    """Trains to the end, from the last whole checkpoint where there is one, and saves the model.

    Raises KeyboardInterrupt after Ctrl-C or SIGTERM, with a checkpoint of the last step on disk, and NotFinite where
    the loss is no number; BadInput where the checkpoint is damaged or another model's, and OutOfMemory.
    """
    from transformers import PrinterCallback

    checkpoint = last_checkpoint(folder)
    if checkpoint is not None:
        _check_checkpoint(checkpoint, trainer.model)
    resumed_at = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    interrupted = _Interrupted()
    trainer.remove_callback(PrinterCallback)
    _hold_in_float32(trainer.model)
    for callback in (_Marker(), _Metrics(folder / METRICS, resumed_at), interrupted):
        trainer.add_callback(callback)
    with interrupted.listening(), telling(trainer, settings, folder, resumed_at):
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except torch.OutOfMemoryError as error:
            hint = "lower optimization.micro_batch_size or max_length, or turn on gradient_checkpointing or lora"
            raise OutOfMemory(f"a step does not fit the GPU's memory: {error}; {hint}") from None
        if interrupted.asked:
            raise KeyboardInterrupt
    _save(trainer, settings, folder)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(1, len(losses) // 10) :]
    figures = {"loss_first": losses[0], "loss_last": sum(last) / len(last)} if losses else {}
    return Outcome(str(folder / MODEL), trainer.state.global_step, figures)


def _hold_in_float32(model: torch.nn.Module) -> None:
    """As all weights that are trained. TRL makes adapters over 4-bit weights bfloat16, which a float32 computation
    cannot be mixed with, and which loses small steps of the optimiser."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()


def _save(trainer: Any, settings: TrainingSettings, folder: Path) -> None:
    """The trained model in `model/`, whole or not at all: adapters are merged, and stay beside it in `adapter/`."""
    made = folder / f"{MODEL}.partial"
    trainer.save_model(str(made))
    if trainer.is_world_process_zero():
        (made / "training_args.bin").unlink(missing_ok=True)  # a pickle, and the settings are written out
        if settings.lora is not None:
            shutil.rmtree(folder / "adapter", ignore_errors=True)
            made.rename(folder / "adapter")
            _merge(trainer, settings, folder / "adapter", made)
        shutil.rmtree(folder / MODEL, ignore_errors=True)
        made.rename(folder / MODEL)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _merge(trainer: Any, settings: TrainingSettings, adapter: Path, target: Path) -> None:
    from peft import PeftModel

    plain = settings.model_copy(update={"lora": settings.lora and settings.lora.model_copy(update={"four_bit": False})})
    trained = trainer.accelerator.unwrap_model(trainer.model).get_base_model()
    base = load_weights(plain, type(trained), **trained_options(trained))
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.save_pretrained(target)
    trainer.processing_class.save_pretrained(target)


def trained_options(model: Any) -> dict[str, Any]:
    """What beside its folder decides the shape of a model: a preference model's one label."""
    labels = getattr(model.config, "num_labels", None)
    return {"num_labels": labels} if type(model).__name__.endswith("SequenceClassification") else {}
