"""Starting Ray, or joining it.

address given        that cluster; our packages travel with the run, nothing has to be installed there
inside a Ray job     the job's cluster; `--working-dir` has brought the packages
neither              Ray on this machine, which ends with the run
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from constitution.faults import CharterError
from engine.backends.spec import ModelSpec

PACKAGES = ("constitution", "prompts", "engine", "trainers", "evaluation", "sandbox", "charter")
READERS = 2  # cores that Ray may count on beside the models', to read and move rows

STARTS = 3

WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


# Ray warns on standard error of what its own data library does; its log files keep everything.
LOCAL_ENVIRONMENT = {"RAY_BACKEND_LOG_LEVEL": "fatal"}


class ClusterUnavailable(CharterError):
    """Ray does not start, or the cluster does not answer. The run can be resumed."""


@contextmanager
def cluster(
    address: str | None,
    object_store_gib: float,
    models: Sequence[ModelSpec],
    *,
    metrics_port: int | None = None,
    dashboard: bool = False,
) -> Iterator[str]:
    """Ray for the time of a run, and where its dashboard is, if anywhere. A Ray that this process had started before is
    used and left as it is.

    A Ray on this machine exports metrics on `metrics_port`, any free one where none is given, and serves its
    `dashboard` where that is wanted. Raises ClusterUnavailable.
    """
    if ray.is_initialized():
        yield ""
        return
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    address = address or os.environ.get("RAY_ADDRESS") or ("auto" if in_job else "local")
    settings: dict[str, object] = {}
    if address == "local":
        # Set in this process, not as a runtime environment: workers that Ray has started ahead can then be used.
        for name, value in (WORKER_ENVIRONMENT | LOCAL_ENVIRONMENT).items():
            os.environ.setdefault(name, value)
        # Ray would give each worker as many threads as the cores it reserves: a model on a CPU would use one.
        copies = sum(_most_replicas(model) for model in models if model.backend in ("vllm", "transformers"))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // max(1, copies))))
        cores = sum(math.ceil(model.cpus) * _most_replicas(model) for model in models)
        settings = {
            "num_cpus": max(os.cpu_count() or 1, cores + READERS),
            "object_store_memory": int(object_store_gib * 2**30),
            "include_dashboard": dashboard,
            "_metrics_export_port": metrics_port,
        }
    else:
        environment: dict[str, object] = {"env_vars": WORKER_ENVIRONMENT}
        if not in_job:
            root = Path(__file__).parents[1]
            environment["py_modules"] = [str(root / name) for name in PACKAGES if (root / name).is_dir()]
        settings = {"runtime_env": environment}
    page = _start(address, settings)
    try:
        yield page
    finally:
        ray.shutdown()


def _start(address: str, settings: dict[str, object]) -> str:
    """Starts or joins Ray, and says where its dashboard is. Raises ClusterUnavailable where it does not answer.

    Ray gives its own processes 30 s, which a busy machine may overrun: starting it again then succeeds. So it does
    where the process that a Ray client gets on the cluster dies as it starts.
    """
    for attempt in range(1, STARTS + 1):
        said: list[str] = []
        try:
            with _without_greeting(said):
                context = ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **settings)
        except Exception as error:  # Ray raises several types, bare Exception among them
            ray.shutdown()
            if attempt < STARTS and (address == "local" or "Initialization failure" in str(error)):
                continue
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if "AuthToken" in said[0]:
                reason += "; it wants a token: export RAY_AUTH_MODE=token, and have the cluster's token in ~/.ray"
            where = "start on this machine" if address == "local" else f"answer at {address!r}"
            raise ClusterUnavailable(f"Ray does not {where}: {reason}") from error
        return f"http://{context.dashboard_url}" if context.dashboard_url else ""
    raise AssertionError("the last try returns or raises")


@contextmanager
def _without_greeting(said: list[str]) -> Iterator[None]:
    """Keeps what Ray's native code prints while it starts from the terminal, and adds it to `said`."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        real = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.close(real)
            kept.seek(0)
            said.append(kept.read().decode(errors="replace"))


def _most_replicas(model: ModelSpec) -> int:
    return model.replicas if isinstance(model.replicas, int) else model.replicas[1]
