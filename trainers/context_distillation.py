"""Safety context distillation: the policy learns to answer without a preprompt as it answers under one.

    prompt ─┬─ as it is ──────────────────► the original answer ──┐
            └─ under its category's preprompt ► guided answers ───┴─ scored without it ─► kept where it is better

Llama 2 (Touvron et al. 2023, section 4.2.4): preprompts by risk category, adversarial prompts only, and an answer is
kept only where the safety preference model scores it above the original.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field

from engine.settings import SampleSettings
from prompts.preprompts import read_preprompts
from trainers.demonstrations import Demonstration
from trainers.sampling import AnswerSettings, Sampler, ScoredRow, scored_rows, set_aside
from trainers.scoring import open_scorer

KIND = "distilled"


class DistillationSettings(AnswerSettings):
    """Answers produced under preprompts."""

    preprompts: str | None = None
    """A folder with a template for each risk category, `any.jinja` for the others; ours where it is not given."""
    scorer: str = Field(min_length=1)
    """The safety preference model: a folder, or an earlier training's run folder."""

    @property
    def folder(self) -> Path | None:
        """Where the preprompts are, if they are not ours."""
        return Path(self.preprompts) if self.preprompts else None


def distilled(settings: DistillationSettings, sampler: Sampler, left_out: Counter[str]) -> Iterator[Demonstration]:
    """The guided answers that are better than the originals. The others are counted by reason."""
    preprompts = read_preprompts(settings.folder)
    how = SampleSettings(samples=1, guided=settings.samples, respond=settings.respond)
    store = sampler.answers(KIND, settings.prompts, how, preprompts)
    left_out.update(set_aside(store))
    for row, scores in scored_rows(store, lambda: open_scorer(settings.scorer, where="distillation.scorer")):
        chosen = better_than_original(scores)
        if isinstance(chosen, str):
            left_out[chosen] += 1
            continue
        origin = f"{row.source} under preprompt {row.preprompt}, sample {chosen}"
        yield Demonstration(row.item_id, KIND, origin, row.messages, row.guided[chosen].text)


def better_than_original(scores: ScoredRow) -> int | str:
    """Which guided answer is learnt: the best one, where its score is above the original's. Or why none is."""
    if not scores.guided:
        return "no preprompt for its category"
    (original,) = scores.responses
    best = max((score for score in scores.guided if score is not None), default=None)
    if best is None or original is None:
        return "an answer has no score"
    return scores.guided.index(best) if best > original else "not better than the original answer"
