"""Where preference models score: in the trainer's process, or in Ray actors of their own.

    trainer process                        actor a replica
    ┌───────────────────────────┐          ┌──────────────────────────────────┐
    │ reward ─► Scorer            │          │ Scorer (transformers)             │
    │        └► RemoteScorer ─────│────────► │ or PooledScorer (vLLM's pooling)  │
    └───────────────────────────┘          └──────────────────────────────────┘

Actors have names: the workers of one training share them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import Field, model_validator

from constitution.hashing import content_hash
from engine.backends.chat import Chat, open_chat
from engine.backends.folder import model_revision
from engine.backends.spec import ModelSpec
from engine.settings import Settings
from prompts.messages import Message
from trainers.scoring import Scorer, check_scorer, open_scorer

CALL_REPEATS = 3  # after the actor that had the call died

if TYPE_CHECKING:
    from engine.backends.vllm_engine import VllmPooler


class Scoring(Protocol):
    """What scores conversations, wherever it runs."""

    name: str
    revision: str

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        """As Scorer.score."""
        ...


class ScorerSettings(Settings):
    """A preference model and where it runs."""

    model: str = Field(min_length=1)
    """A model folder, a hub id, or the folder of `charter train pm`."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    where: Literal["trainer", "ray"] = "trainer"
    """In every trainer's own process, or in Ray actors that the trainers share."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What computes it; vLLM's pooling runner needs an actor."""
    batch_size: int = Field(default=16, ge=1)
    """transformers: conversations computed at once."""
    replicas: int = Field(default=1, ge=1)
    """Ray actors."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of one actor; 1 where the cluster has GPUs, where it is not given."""
    cpus: float = Field(default=1, ge=0)
    """CPU cores set aside for one actor."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """vLLM: the share of a GPU's memory that the engine may take."""

    @model_validator(mode="after")
    def _vllm_has_an_actor(self) -> ScorerSettings:
        if self.engine == "vllm" and self.where != "ray":
            raise ValueError("engine: vllm needs where: ray, a process of its own")
        return self


class PooledScorer(Scorer):
    """A preference model on vLLM's pooling runner."""

    def __init__(self, pooler: VllmPooler, chat: Chat, revision: str) -> None:
        super().__init__(None, chat, revision)
        self._pooler = pooler

    def score_ids(self, conversations: Sequence[Sequence[int]]) -> list[float | None]:
        """As Scorer.score_ids; vLLM batches."""
        fitting = [place for place, ids in enumerate(conversations) if 0 < len(ids) <= self.context_window]
        found = self._pooler.logits([conversations[place] for place in fitting])
        scores: list[float | None] = [None] * len(conversations)
        for place, score in zip(fitting, found, strict=True):
            scores[place] = score
        return scores


def open_pooled(told: ScorerSettings, where: str) -> PooledScorer:
    """Starts vLLM in this process. Raises BadInput, ModelUnavailable."""
    from engine.backends.vllm_engine import VllmPooler, on_gpu

    folder = check_scorer(told.model, where, told.revision)
    spec = ModelSpec(
        backend="vllm",
        model=str(folder),
        dtype="auto" if on_gpu() else "float32",
        gpu_memory_utilization=told.gpu_memory_utilization,
        enforce_eager=not on_gpu(),
    )
    return PooledScorer(VllmPooler(spec, folder), open_chat(spec), model_revision(folder))


class ScoringActor:
    """A preference model in an actor of its own."""

    def __init__(self, told: ScorerSettings, where: str) -> None:
        self._told = told
        self._where = where
        self._scorer: Scorer | None = None

    def start(self) -> str:
        """Opens the model, once, and tells its revision. What this raises reaches the caller as it is."""
        told = self._told
        if self._scorer is None and told.engine == "vllm":
            self._scorer = open_pooled(told, self._where)
        elif self._scorer is None:
            self._scorer = open_scorer(
                told.model, where=self._where, revision=told.revision, batch_size=told.batch_size
            )
        return self._scorer.revision

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        """As Scorer.score."""
        self.start()
        assert self._scorer is not None
        return self._scorer.score(conversations)


class RemoteScorer:
    """A preference model in actors: each takes an even part of the conversations."""

    def __init__(self, told: ScorerSettings, where: str) -> None:
        """Starts the actors, or finds those that another worker of this training started. Raises what opening the
        model raises."""
        import ray

        gpus = told.gpus if told.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
        name = content_hash(told.model_dump())
        self.name = told.model
        self._actors: list[Any] = [
            ray.remote(ScoringActor)
            .options(
                name=f"score-{name}-{number}",
                get_if_exists=True,
                num_cpus=told.cpus,
                num_gpus=gpus,
                max_restarts=-1,
                max_task_retries=CALL_REPEATS,
            )
            .remote(told, where)
            for number in range(told.replicas)
        ]
        try:
            self.revision: str = ray.get([actor.start.remote() for actor in self._actors])[0]
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[float | None]:
        """As Scorer.score."""
        import ray

        count = len(self._actors)
        parts = [list(conversations[start::count]) for start in range(count)]
        found = ray.get([actor.score.remote(part) for actor, part in zip(self._actors, parts, strict=True)])
        scores: list[float | None] = [None] * len(conversations)
        for start, part in enumerate(found):
            scores[start::count] = part
        return scores


def open_scoring(told: ScorerSettings, where: str) -> Scoring:
    """The preference model, here or in its actors; Ray must run for the latter. Raises BadInput."""
    if told.where == "ray":
        return RemoteScorer(told, where)
    return open_scorer(told.model, where=where, revision=told.revision, batch_size=told.batch_size)


@contextmanager
def ray_for(scorers: Sequence[ScorerSettings], address: str | None) -> Iterator[None]:
    """Ray for the time of a training where a scorer wants it."""
    remote = [told for told in scorers if told.where == "ray"]
    if not remote:
        yield
        return
    from engine.cluster import cluster

    with cluster(
        address, 0.2, [ModelSpec(model=told.model, replicas=told.replicas, cpus=told.cpus) for told in remote]
    ):
        yield
