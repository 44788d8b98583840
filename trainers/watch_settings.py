"""How closely a policy is watched while it is rewarded (trainers/watch.py)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.settings import Settings
from trainers.hosted_scoring import ScorerSettings


class WatchSettings(Settings):
    """What is looked at on prompts that are not trained on, how often, and when it is too much."""

    judge: ScorerSettings
    """A preference model that the reward does not use, such as one trained on other pairs."""
    prompts: int = Field(default=64, ge=2)
    """Prompts held out of the training's own."""
    every: int = Field(default=20, ge=1)
    """Steps between two looks. A checkpoint is written at each; the one that the judge scores best is kept, unless
    there was an alarm."""
    patience: int = Field(default=4, ge=1)
    """The training ends after so many looks without a better score of the judge's."""
    stock_phrase: float = Field(default=0.3, gt=0)
    """An alarm where the commonest phrase is in so much more of the answers than at the start."""
    distinct: float = Field(default=0.85, ge=0, lt=1)
    """An alarm where distinct-4 is under this share of what it was at the start."""
    length: tuple[float, float] = (0.5, 2.0)
    """An alarm where answers are shorter or longer than these multiples of what they were at the start."""
    on_alarm: Literal["stop", "tell"] = "stop"
    """An alarm ends the training, or is told and the training goes on."""

    @model_validator(mode="after")
    def _length_is_a_range(self) -> WatchSettings:
        low, high = self.length
        if not 0 <= low < 1 < high:
            raise ValueError(f"length must hold 1 between its ends; found {low} and {high}")
        return self
