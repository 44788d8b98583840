"""What `charter estimate` goes by and says: the machine, a line for each stage or training, what stays open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from charter.gpus import Gpu, Rates


@dataclass(frozen=True)
class Machine:
    """What it is to run on, and what is assumed of it."""

    gpus: int
    gpu: Gpu
    node: int = 8
    """GPUs of one machine: trainings without `launch.workers` take those."""
    fill: bool = False
    """Copies and workers as many as there is room for, whatever the recipe says."""
    start: float = 90.0
    """Seconds until an engine answers, or a training takes its first step."""
    price: float | None = None
    """Of a GPU for an hour."""
    answer_share: float = 0.5
    """What an answer takes of its limit."""
    prompt_tokens: int = 150
    """Of prompts that are not here."""
    rates: Mapping[str, Rates] = field(default_factory=dict)
    """Those of models that the user measured."""


@dataclass(frozen=True)
class Line:
    """What one stage, or one training, takes. `parts` are seconds by what they are spent on."""

    step: str
    work: str
    rows: int
    calls: float = 0.0
    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    completion_tokens: float = 0.0
    gpus: float = 0.0
    parts: Mapping[str, float] = field(default_factory=dict)
    """None of it where a server has the models: their speed is not known."""
    token_money: float = 0.0
    """What servers ask for their tokens."""
    measured: bool = False
    """Tokens a call are those of a finished run."""
    note: str = ""

    @property
    def seconds(self) -> float:
        """From the start of the engines to the end of the stage."""
        return sum(self.parts.values())

    @property
    def gpu_hours(self) -> float:
        """Of the GPUs that it holds."""
        return self.gpus * self.seconds / 3600

    @property
    def bottleneck(self) -> str:
        """What most of the time is spent on, and what else takes a tenth."""
        ordered = sorted(self.parts.items(), key=lambda part: -part[1])
        told = [(name, spent / self.seconds) for name, spent in ordered if spent]
        return ", ".join(f"{name} {share:.0%}" for place, (name, share) in enumerate(told) if not place or share >= 0.1)


@dataclass(frozen=True)
class Open:
    """A step of which something is not known, or that cannot run like this."""

    step: str
    work: str
    reason: str


def rows_missing(step: str, work: str) -> Open:
    """Nobody knows how many rows there are."""
    return Open(step, work, f"its data is not here: --rows {step}=NUMBER")


def size_missing(step: str, work: str, model: str) -> Open:
    """Nobody knows how large a model is."""
    return Open(step, work, f"how large {model} is: --parameters {model}=8 (in billions)")
