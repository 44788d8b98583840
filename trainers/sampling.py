"""Answers of a policy to prompts, and a preference model's scores of them, before a training starts.

    answers/NAME/stages/01_prompts ─► 02_sample ─► 03_score        in the training's run folder

Both are stages like those of a run: what is finished is on disk within seconds, and a training that was stopped goes on
from there. One copy of a model on this machine is run in this process; several, or a cluster, through Ray.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, JsonValue

from engine.backends.spec import ModelSpec, NumberType
from engine.duplicates import DuplicateFinder
from engine.here import run_stage_here
from engine.inputs import PromptSource, read_prompts
from engine.plan import SamplePlan
from engine.progress import PLAIN_SECONDS, EventLog, Reporter, StageLog, logged
from engine.records import Prompt, Response, SampledRow, from_row
from engine.rows import Tally
from engine.settings import SampleSettings, SamplingSettings, Settings, StageSettings
from engine.storage import Folder, StageStore, write_sealed
from prompts.messages import Message
from prompts.rendering import PromptSet
from trainers.scoring import Scorer

PROMPTS_PER_PART = 5_000
ROWS_SCORED_AT_ONCE = 64


class SamplerSettings(Settings):
    """What runs the policy while it answers: see docs/models.md for the keys."""

    backend: Literal["transformers", "vllm"] = "transformers"
    """vLLM where there is a GPU and many answers are wanted."""
    replicas: int = Field(default=1, ge=1)
    """Copies of the model, on Ray where there are several."""
    batch_size: int = Field(default=16, ge=1)
    """transformers: conversations computed at once."""
    dtype: NumberType = "auto"
    """Number type of the weights."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """vLLM: the share of a GPU's memory that the engine may take."""
    engine_args: dict[str, JsonValue] = Field(default_factory=dict)
    """vLLM: further engine arguments."""

    def spec(self, policy: ModelSpec) -> ModelSpec:
        """The policy as the engine runs it."""
        own: dict[str, Any] = {"batch_size": self.batch_size}
        if self.backend == "vllm":
            own = {"gpu_memory_utilization": self.gpu_memory_utilization, "engine_args": self.engine_args}
        own |= {"backend": self.backend, "replicas": self.replicas, "dtype": self.dtype}
        return policy.model_copy(update=own)


class AnswerSettings(Settings):
    """Prompts that the policy answers."""

    prompts: tuple[PromptSource, ...] = Field(min_length=1)
    """Where the prompts are."""
    samples: int = Field(default=1, ge=1, le=256)
    """Answers a prompt."""
    respond: SamplingSettings = SamplingSettings()
    """How they are drawn."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """The scores of a sampled row's answers, in their order. None where an answer is empty, was cut, or does not fit
    the preference model's window: such an answer is never chosen."""

    item_id: str
    index: int
    responses: tuple[float | None, ...]
    guided: tuple[float | None, ...]


@dataclass(frozen=True)
class Sampler:
    """A policy that answers prompts for a training."""

    spec: ModelSpec
    address: str | None
    folder: Folder
    seed: int
    say: Callable[[str], None]

    def answers(
        self,
        name: str,
        sources: Sequence[PromptSource],
        settings: SampleSettings,
        preprompts: Mapping[str, PromptSet] | None = None,
    ) -> StageStore:
        """Every prompt answered, or set aside. `name` is the part of the mixture the answers are for."""
        folder = self.folder.child(f"answers/{name}")
        prompts = StageStore(folder, "01_prompts", Prompt)
        if not prompts.is_sealed:
            distinct = DuplicateFinder(near_threshold=None).distinct(read_prompts(sources))
            write_sealed(prompts, batches(distinct, PROMPTS_PER_PART))
        store = StageStore(folder, "02_sample", SampledRow)
        rows = StageSettings()
        asking = PromptSet.load(use_few_shots=False)
        plan = SamplePlan(store, settings, self.spec, asking, rows, self.seed, preprompts or {})
        if store.is_sealed:
            return store
        if self.spec.replicas == 1 and self.address is None:
            total = sum(table.num_rows for table in prompts.tables(["item_id"]))
            with logged(EventLog(folder), store.name, len(store.finished()), total) as log:
                run_stage_here(plan, prompts, _Telling(self.say, name, log).report)
        else:
            from engine.cluster import cluster  # Ray is imported where it is used
            from engine.stages import run_stage

            with cluster(self.address, 0.5, [self.spec]):
                run_stage(plan, prompts, Reporter(EventLog(folder)).watcher("02_sample"))
        return store


@dataclass
class _Telling:
    """Says every 30 s how many prompts are answered."""

    say: Callable[[str], None]
    name: str
    log: StageLog
    spoke: float = 0.0

    def report(self, tally: Tally) -> None:
        self.log.add(tally)
        if self.log.view.now - self.spoke >= PLAIN_SECONDS:
            self.spoke = self.log.view.now
            self.say(f"{self.name}: {self.log.view.finished:,} prompts answered")


def batches(prompts: Iterator[Prompt], size: int) -> Iterator[list[Prompt]]:
    """The prompts in lists of a size."""
    batch: list[Prompt] = []
    for prompt in prompts:
        batch.append(prompt)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def sampled_rows(store: StageStore) -> Iterator[SampledRow]:
    """The rows of a finished sample stage, in input order."""
    for table in store.tables():
        for row in table.to_pylist():
            yield from_row(SampledRow, row)


def set_aside(store: StageStore) -> Counter[str]:
    """The prompts that got no answer, by their error."""
    return Counter(f"set aside ({row['error']})" for row in store.failures())


def usable(response: Response) -> bool:
    """Whether an answer may be learnt: it says something, and it was not cut."""
    return bool(response.text) and response.call.finish_reason != "length"


def scored_rows(store: StageStore, open_scorer: Callable[[], Scorer]) -> Iterator[tuple[SampledRow, ScoredRow]]:
    """The sampled rows with their scores, which are kept in `03_score`. The model is opened where a row needs it."""
    scores = StageStore(store.run, "03_score", ScoredRow)
    if not scores.is_sealed:
        done = scores.finished()
        waiting = [row for row in sampled_rows(store) if row.item_id not in done]
        scorer = open_scorer() if waiting else None
        for start in range(0, len(waiting), ROWS_SCORED_AT_ONCE):
            assert scorer is not None
            some = waiting[start : start + ROWS_SCORED_AT_ONCE]
            scores.write_part(some[0].item_id, 0, _scored(some, scorer), [])
        scores.seal()
    by_item = {row["item_id"]: from_row(ScoredRow, row) for table in scores.tables() for row in table.to_pylist()}
    for row in sampled_rows(store):
        yield row, by_item[row.item_id]


def _scored(rows: Sequence[SampledRow], scorer: Scorer) -> list[ScoredRow]:
    asked = [
        conversation(row.messages, response.text)
        for row in rows
        for response in (*row.responses, *row.guided)
        if usable(response)
    ]
    given = iter(scorer.score(asked))
    return [
        ScoredRow(
            row.item_id,
            row.index,
            tuple(next(given) if usable(response) else None for response in row.responses),
            tuple(next(given) if usable(response) else None for response in row.guided),
        )
        for row in rows
    ]


def conversation(prompt: Sequence[Message], answer: str) -> list[Message]:
    """The prompt with an answer, as preference models read it."""
    return [*prompt, Message(role="assistant", content=answer)]
