"""What every trainer may be told. Each trainer's own settings (trainers/fine_tuning.py, …) add to these."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.backends.spec import ModelSpec
from engine.settings import Settings

Tracker = Literal["tensorboard", "wandb", "mlflow"]


class Optimization(Settings):
    """How far and how fast the weights move. The optimiser is AdamW."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """The highest rate."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate goes on after the warm-up: it stays, or falls to zero at the end. The paper keeps it."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """The share of the steps over which the rate rises from zero."""
    weight_decay: float = Field(default=0.0, ge=0)
    """As in AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this are shortened to it."""
    epochs: float = Field(default=1.0, gt=0)
    """How often every row is seen."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many steps, whatever `epochs` says."""
    batch_size: int = Field(default=32, ge=1)
    """Rows behind one step of the optimiser, over all workers: the result does not depend on how many there are."""
    micro_batch_size: int = Field(default=4, ge=1)
    """Rows that one worker computes at once. What is missing to a batch is accumulated."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, a fifth more time."""


class LoraSettings(Settings):
    """Train low-rank adapters and leave the weights alone (Hu et al. 2021)."""

    rank: int = Field(default=16, ge=1)
    """The adapters' rank."""
    alpha: int = Field(default=32, ge=1)
    """The adapters' share is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the adapters' input."""
    modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """The layers that get one, by the end of their names; all linear layers but the head where it is not given."""
    four_bit: bool = False
    """Hold the weights in 4 bits while the adapters are trained (QLoRA, Dettmers et al. 2023). Needs
    bitsandbytes."""


class CheckpointSettings(Settings):
    """What a run that was stopped goes on from."""

    every: int = Field(default=100, ge=1)
    """Steps from one checkpoint to the next."""
    keep: int = Field(default=2, ge=1)
    """The newest so many stay on disk."""


class LaunchSettings(Settings):
    """Where the training runs. One worker without an address is this process; everything else is Ray Train."""

    workers: int | None = Field(default=None, ge=1)
    """Processes that share the rows; one for each GPU of this machine, and at least one, where it is not given."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of one worker; 1 where there are GPUs, where it is not given."""
    cpus: float = Field(default=1, gt=0)
    """CPU cores set aside for one worker."""
    address: str | None = None
    """A running Ray cluster, as in a recipe's `ray.address`."""
    restarts: int = Field(default=2, ge=0)
    """How often lost workers are started again. They go on from the last checkpoint."""


class TrainingSettings(Settings):
    """One training run: a model and data in, a model out."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the run is called; its folder is `runs/<name>` unless `output` says otherwise."""
    output: str | None = None
    """The run folder: a path that every worker sees."""
    seed: int = 0
    """Every draw follows from it: the mixture, the order of the rows, dropout."""
    model: str = Field(min_length=1)
    """The weights to start from: a model folder, a hub id, or the folder of an earlier training run."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    chat_template: str | None = None
    """A Jinja file that replaces the tokenizer's own chat template; the trained model keeps it."""
    max_length: int = Field(default=1024, ge=2)
    """Tokens of a whole conversation at most. Longer rows are left out and counted."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number type of the computation: `auto` is bfloat16 on a GPU and float32 on a CPU."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights."""
    optimization: Optimization = Optimization()
    """Rates, batches and steps."""
    checkpoints: CheckpointSettings = CheckpointSettings()
    """What is kept on the way."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers that are told the metrics, beside `metrics.jsonl`. W&B and MLflow take keys and addresses from their
    own environment variables."""
    launch: LaunchSettings = LaunchSettings()
    """Where it runs."""

    @property
    def rows_a_prompt(self) -> int:
        """How many rows of a batch come of one row of the data: a policy answers a prompt several times."""
        return 1

    @property
    def held_models(self) -> tuple[str, ...]:
        """Models beside the trained one that every worker holds: a reference, preference models."""
        return ()

    @property
    def spec(self) -> ModelSpec:
        """The starting weights as the engine names them."""
        return ModelSpec(model=self.model, revision=self.revision, chat_template=self.chat_template)
