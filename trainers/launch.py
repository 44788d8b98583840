"""One training, wherever it runs: in this process, on every GPU of a machine, or on the nodes of a Ray cluster.

    launch ─┬─ one worker, no address ──► task.train(settings, folder)                      here
            └─ else: ray.train.TorchTrainer ─► worker × N ─► task.train(settings, folder)    gloo or nccl between them

The data is in the run folder before anything is launched (`task.prepare`), and so are the checkpoints: the folder must
be one that every worker sees. Ray starts lost workers again; each start, like `--resume`, goes on from the last whole
checkpoint.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, cast

from constitution.faults import BadInput, CharterError, Fault
from engine.storage import Folder
from trainers.fitting import NotFinite, Outcome, micro_batches
from trainers.rewarding import NoReward
from trainers.settings import LaunchSettings, TrainingSettings
from trainers.trackers import check_trackers

OUTCOME = "outcome.json"
FROM_WORKER = ".outcome.json"
"""What the first of Ray's workers came to: its outcome, or why no worker can go on."""
RAY_STATE = ".ray"
HOPELESS: dict[str, type[CharterError]] = {each.__name__: each for each in (BadInput, NotFinite, NoReward)}
"""Every worker raises these: to start them again would not help."""


class TrainingFailed(CharterError):
    """The workers of a training were lost, or it cannot go on. Its checkpoints stay."""


@dataclass(frozen=True)
class Prepared:
    """What a trainer's data came to, for the manifest and the model card."""

    rows: Mapping[str, int]
    """Rows by where they came from: revisions, helpful, …"""
    left_out: Mapping[str, int]
    """Rows that are not trained on, by reason."""
    data_hash: str
    """The content hash of the rows, in order."""
    tokens: int = 0
    """Tokens of one pass over the rows."""
    constitutions: tuple[str, ...] = ()
    """The content hashes of the constitutions that the rows were made under."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further counts that a user should see, by their names in words."""


class Task(Protocol):
    """A trainer: a module of this package with these three functions."""

    def check(self, settings: Any) -> None:
        """Raises BadInput with everything that can be wrong and be seen without loading a model. Writes nothing."""
        ...

    def prepare(self, settings: Any, folder: Folder, say: Callable[[str], None]) -> Prepared:
        """Writes what is trained on into `data/train` of the run folder. Called once; after an interruption it is
        called again and may go on from what it had written."""
        ...

    def train(self, settings: Any, folder: Path) -> Outcome:
        """Trains on `data/train`, as the only process or as one worker of several."""
        ...


def task_of(module: str) -> Task:
    """The trainer in a module, such as `trainers.fine_tuning`."""
    return cast("Task", importlib.import_module(module))


def workers_of(launch: LaunchSettings) -> int:
    """How many processes train."""
    import torch

    return launch.workers or max(1, torch.cuda.device_count())


def gpus_of(launch: LaunchSettings) -> float | None:
    """GPUs that the workers hold; None where that is the cluster's business."""
    import torch

    if launch.address is not None:
        return None if launch.gpus is None else launch.gpus * workers_of(launch)
    each = 1.0 if launch.gpus is None else launch.gpus
    return each * workers_of(launch) if torch.cuda.is_available() else 0.0


def check_launch(settings: TrainingSettings) -> None:
    """Raises BadInput where the workers cannot share a batch evenly, or a tracker cannot be told."""
    try:
        micro_batches(settings.optimization.batch_size, 1, workers_of(settings.launch))
    except ValueError as error:
        hint = "make batch_size a multiple of the workers, or launch.workers a divisor of it"
        raise BadInput(Fault(str(error), where="optimization.batch_size", hint=hint)) from None
    check_trackers(settings)


def launch(module: str, settings: TrainingSettings, folder: Path) -> Outcome:
    """Trains and returns what came of it. Raises what the trainer raises, and TrainingFailed where Ray gives up.

    `module` names the trainer. The folder holds the prepared data.
    """
    done = folder / OUTCOME
    if not done.exists():
        if settings.launch.address is None and workers_of(settings.launch) == 1:
            os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # with more, transformers would split each batch
            outcome = task_of(module).train(settings, folder)
        else:
            outcome = _on_ray(module, settings, folder)
        done.write_text(json.dumps(asdict(outcome), indent=2) + "\n", encoding="utf-8")
    return Outcome(**json.loads(done.read_text(encoding="utf-8")))


def _on_ray(module: str, settings: TrainingSettings, folder: Path) -> Outcome:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from engine.cluster import cluster

    how, workers = settings.launch, workers_of(settings.launch)
    with cluster(how.address, 0.2, [settings.spec.model_copy(update={"replicas": workers, "cpus": how.cpus})]):
        gpus = how.gpus if how.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
        trainer = TorchTrainer(
            _worker,
            train_loop_config={
                "module": module,
                "settings": settings,
                "folder": str(folder.absolute()),
                "started_in": str(Path.cwd()),
            },
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpus > 0, resources_per_worker={"CPU": how.cpus, "GPU": gpus}
            ),
            run_config=RunConfig(
                name=RAY_STATE,
                storage_path=str(folder.absolute()),
                failure_config=FailureConfig(max_failures=how.restarts),
            ),
        )
        try:
            with _interruptible():
                trainer.fit()
        except TrainingFailedError as error:
            raise _cause(error) from None
        finally:
            shutil.rmtree(folder / RAY_STATE, ignore_errors=True)  # of this start alone: checkpoints are elsewhere
    found = json.loads((folder / FROM_WORKER).read_text(encoding="utf-8"))
    (folder / FROM_WORKER).unlink()
    if "error" in found:
        raise HOPELESS[found["error"]](found["message"])
    return Outcome(**found)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the training as an interruption: Ray Train would end the process with status 0."""

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _worker(config: Mapping[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    from ray import train

    from engine.hosting import keep_log

    with suppress(FileNotFoundError):  # on another machine: whole paths are found there all the same
        os.chdir(config["started_in"])  # Ray Train moves its workers away, and settings may hold relative paths
    folder = Path(config["folder"])
    keep_log(Folder(str(folder)), "training", "worker")
    try:
        found = asdict(task_of(config["module"]).train(config["settings"], folder))
    except tuple(HOPELESS.values()) as error:
        found = {"error": type(error).__name__, "message": str(error)}
    if train.get_context().get_world_rank() == 0:
        (folder / FROM_WORKER).write_text(json.dumps(found), encoding="utf-8")


def _cause(error: Any) -> BaseException:
    """What a worker raised, where that is a user's business; otherwise that the training failed, and why."""
    for failure in getattr(error, "worker_failures", {}).values():
        for inner in _chain(failure):
            if isinstance(inner, CharterError):
                return inner
    last = str(error).strip().splitlines()[-1]
    return TrainingFailed(f"the workers stopped: {last}; what they printed is in logs/")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__
