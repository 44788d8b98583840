"""Where models run when a stage uses several: one in the worker itself, the others in their own Ray actors.

    worker process                     actor a replica
    ┌──────────────────────────┐       ┌────────────────┐
    │ chain ─► Model (own GPU)  │──────►│ HostedModel     │   RemoteModel sends each call to the least busy replica
    │       └► RemoteModel      │       │  └► Model       │
    └──────────────────────────┘       └────────────────┘

A server or a script needs no actor: every worker talks to it directly. An actor whose engine died or hangs ends itself;
Ray starts it again and repeats the calls it had.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray.exceptions import RayActorError

from engine.backends.opening import open_model, open_tokenizer
from engine.backends.spec import ModelSpec
from engine.log_keeping import keep
from engine.model import Choice, Completion, ModelUnavailable, PromptCounter, Sampling
from engine.storage import Folder, StageStore
from engine.watchdog import Heard
from prompts.messages import Message

CALLS_AT_ONCE = 1_000
LOOK_SECONDS = 2.0
CALL_REPEATS = 3  # after the actor that had the call died


def has_engine(spec: ModelSpec) -> bool:
    """Whether the model's weights are held by the process that opens it."""
    return spec.backend in ("vllm", "transformers")


def resources(spec: ModelSpec) -> dict[str, float]:
    """What one copy of the model asks of Ray, as actor options."""
    if not has_engine(spec):
        return {"num_cpus": spec.cpus, "num_gpus": 0}
    gpus = spec.gpus
    if gpus is None:
        gpus = float(spec.tensor_parallel) if ray.cluster_resources().get("GPU", 0) > 0 else 0.0
    return {"num_cpus": spec.cpus, "num_gpus": gpus}


def keep_log(run: Folder, stage: str, worker: str, models: Iterable[ModelSpec] = ()) -> None:
    """Sends what this process and its engine print and log to `logs/` in the run folder, less the models' keys. Object
    stores cannot append."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("engine").setLevel(logging.INFO)
    if run.is_local:
        path = run.path(f"logs/{stage}/{worker}-{socket.gethostname()}-{os.getpid()}.log")
        keep(Path(path), [spec.api_key_env for spec in models if spec.api_key_env])


def end_process(reason: str) -> NoReturn:
    """Ends this process at once, so that Ray starts another in its place."""
    with suppress(OSError):  # nobody may be left who reads it
        print(reason, file=sys.stderr, flush=True)
    os._exit(1)


def end(actors: Iterable[Any]) -> None:
    """Ends Ray actors at once, whatever they are at. They are not started again."""
    for actor in actors:
        ray.kill(actor)


def named(actor: type[Any], stage: str) -> type[Any]:
    """The class under the name of a stage: what Ray's dashboard and `ray list actors` show of an actor is its class."""
    return type(f"{stage}:{actor.__name__}", (actor,), {})  # of a name with a dot, `ps` shows what follows it


class HostedModel:
    """A model in an actor of its own."""

    def __init__(self, spec: ModelSpec, store: StageStore, stall_seconds: float) -> None:
        keep_log(store.run, store.name, "model", [spec])
        self._spec = spec
        self._stall_seconds = stall_seconds
        self._model: Any = None
        self._starting = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, Any]:
        """Opens the engine; what a RemoteModel needs to know of it."""
        async with self._starting:  # after a restart, every call that is repeated comes at once
            if self._model is None:
                self._model = Heard(await open_model(self._spec), self._stall_seconds)
                self._watching = asyncio.ensure_future(self._watch())
        return {"revision": self._model.revision, "context_window": self._model.context_window}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._model.check()
            except ModelUnavailable as error:
                end_process(f"the actor ends and starts again: {error}")

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As Model.generate."""
        return await self._call("generate", messages, sampling)  # type: ignore[no-any-return]

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """As Model.choose."""
        return await self._call("choose", messages, options)  # type: ignore[no-any-return]

    async def _call(self, verb: str, *arguments: object) -> Any:
        await self.start()
        try:
            return await getattr(self._model, verb)(*arguments)
        except ModelUnavailable as error:
            end_process(f"the engine is gone, the actor ends and starts again: {error}")


@dataclass
class RemoteModel:
    """The Model that its replicas serve. Made by the driver, used by the workers."""

    spec: ModelSpec
    replicas: list[Any]
    revision: str
    context_window: int
    name: str = ""
    _busy: list[int] = field(default_factory=list)
    _counter: PromptCounter | None = None

    def __post_init__(self) -> None:
        self.name = self.spec.model
        self._busy = [0] * len(self.replicas)

    async def _call(self, verb: str, *arguments: object) -> Any:
        place = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[place] += 1
        try:
            return await getattr(self.replicas[place], verb).remote(*arguments)
        except RayActorError as error:
            raise ModelUnavailable(f"{self.name}: its actor died: {error}") from None
        finally:
            self._busy[place] -= 1

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As Model.generate."""
        return await self._call("generate", messages, sampling)  # type: ignore[no-any-return]

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """As Model.choose."""
        return await self._call("choose", messages, options)  # type: ignore[no-any-return]

    @property
    def counter(self) -> PromptCounter:
        """The tokenizer, loaded here when it is first needed."""
        if self._counter is None:
            self._counter = open_tokenizer(self.spec)
        return self._counter

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """As Model.count_tokens."""
        return self.counter.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """As Model.check_options."""
        self.counter.check_options(options, messages)

    async def close(self) -> None:
        """The driver ends the replicas; a worker has nothing to free."""


def host(spec: ModelSpec, store: StageStore, stall_seconds: float) -> RemoteModel:
    """Starts the replicas of a model for a stage and waits until each answers. Raises what opening the model raises."""
    replicas = spec.replicas if isinstance(spec.replicas, int) else spec.replicas[1]
    options = {**resources(spec), "max_restarts": -1, "max_task_retries": CALL_REPEATS}
    hosted = ray.remote(named(HostedModel, store.name)).options(max_concurrency=CALLS_AT_ONCE, **options)
    actors = [hosted.remote(spec, store, stall_seconds) for _ in range(replicas)]
    try:
        started = ray.get([actor.start.remote() for actor in actors])
    except BaseException as error:  # Ctrl-C too: weights take minutes to load
        end(actors)
        if isinstance(error, ray.exceptions.RayTaskError):
            raise error.cause from None
        raise
    return RemoteModel(spec=spec, replicas=actors, **started[0])
