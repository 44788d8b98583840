"""Rejection sampling: the policy learns the best of its own answers.

    prompt ─► K answers ─► preference model ─┐
    the answers that earlier iterations chose ┴─► the best of each prompt

Llama 2 (Touvron et al. 2023, section 3.2.3): K answers at a temperature of 1.2 to 1.3, the best by the preference
model, and the top samples of all earlier iterations are kept, since without them abilities were lost on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import Field

from constitution.faults import BadInput, Fault
from engine.records import from_row
from engine.settings import SampleSettings, SamplingSettings
from engine.storage import Folder
from prompts.messages import Message
from trainers.demonstrations import TRAIN, Demonstration, TrainingRow, read_rows
from trainers.sampling import AnswerSettings, Sampler, conversation, scored_rows, set_aside
from trainers.scoring import open_scorer

KIND = "best_of"


class RejectionSettings(AnswerSettings):
    """The best of K answers."""

    samples: int = Field(default=8, ge=1, le=256)
    """K: answers a prompt."""
    respond: SamplingSettings = SamplingSettings(temperature=1.2)
    """How they are drawn."""
    scorer: str = Field(min_length=1)
    """The preference model: a folder, or an earlier training's run folder."""
    keep: int = Field(default=1, ge=1)
    """How many answers of a prompt are learnt."""
    earlier: tuple[str, ...] = ()
    """Run folders of earlier iterations. Their chosen answers compete with the new ones, scored by the same model."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that may be learnt."""

    item_id: str
    origin: str
    prompt: tuple[Message, ...]
    text: str
    score: float


def check_earlier(runs: Sequence[str]) -> None:
    """Raises BadInput where a run folder is not that of a training with such answers."""
    for run in runs:
        if not Folder(run).exists(TRAIN):
            message = "it has no data/train"
        elif KIND not in _kinds(Folder(run)):
            message = "it learnt no answers that were chosen among several"
        else:
            continue
        hint = "name the run folder of a `charter train sft` with rejection_sampling"
        raise BadInput(Fault(message, file=run, where="rejection_sampling.earlier", hint=hint))


def _kinds(run: Folder) -> set[str]:
    """The parts of the mixture that a fine-tuning learnt; none where it is another training."""
    rows = read_rows(run)
    return set(rows["kind"].to_pylist()) if "kind" in rows.column_names else set()


def best_answers(settings: RejectionSettings, sampler: Sampler, left_out: Counter[str]) -> Iterator[Demonstration]:
    """The best answers of each prompt, new and earlier. The rest is counted."""
    how = SampleSettings(samples=settings.samples, respond=settings.respond)
    store = sampler.answers(KIND, settings.prompts, how)
    left_out.update(set_aside(store))
    candidates: list[Candidate] = []
    for row, scores in scored_rows(store, lambda: open_scorer(settings.scorer, where="rejection_sampling.scorer")):
        for response, score in zip(row.responses, scores.responses, strict=True):
            if score is None:
                left_out["an answer has no score"] += 1
            else:
                origin = f"{row.source}, sample {response.sample}"
                candidates.append(Candidate(row.item_id, origin, row.messages, response.text, score))
    candidates += _earlier(settings, left_out)
    chosen = best_of(candidates, settings.keep)
    left_out["not the best of its prompt"] += len(candidates) - len(chosen)
    for each in chosen:
        yield Demonstration(each.item_id, KIND, each.origin, each.prompt, each.text)


def _earlier(settings: RejectionSettings, left_out: Counter[str]) -> Iterator[Candidate]:
    rows = [
        from_row(TrainingRow, row)
        for run in settings.earlier
        for row in read_rows(Folder(run)).to_pylist()
        if row["kind"] == KIND
    ]
    if not rows:
        return
    scorer = open_scorer(settings.scorer, where="rejection_sampling.scorer")
    scores = scorer.score([conversation(row.prompt, row.completion[0]["content"]) for row in rows])
    for row, score in zip(rows, scores, strict=True):
        if score is None:
            left_out["an answer has no score"] += 1
        else:
            yield Candidate(row.item_id, row.origin, row.prompt, row.completion[0]["content"], score)


def best_of(candidates: Sequence[Candidate], keep: int) -> list[Candidate]:
    """The `keep` best different answers of each prompt, prompts in the order they come, the best answer first.

    Of answers with the same score, the one that comes first is taken.
    """
    by_item: dict[str, dict[str, Candidate]] = {}
    for candidate in candidates:
        by_item.setdefault(candidate.item_id, {}).setdefault(candidate.text, candidate)
    return [
        candidate
        for texts in by_item.values()
        for candidate in sorted(texts.values(), key=lambda each: -each.score)[:keep]
    ]
