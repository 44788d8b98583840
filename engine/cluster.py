"""Starting Ray, or joining it.

address given        that cluster; our packages travel with the run, nothing has to be installed there
inside a Ray job     the job's cluster; `--working-dir` has brought the packages
neither              Ray on this machine, which ends with the run
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import ray

from engine.backends.spec import ModelSpec

PACKAGES = ("constitution", "prompts", "engine", "trainers", "evaluation", "sandbox", "charter")
READERS = 2  # cores that Ray may count on beside the models', to read and move rows

WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def cluster(address: str | None, object_store_gib: float, models: Sequence[ModelSpec]) -> Iterator[None]:
    """Ray for the time of a run. A Ray that this process had started before is used and left as it is."""
    if ray.is_initialized():
        yield
        return
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    address = address or os.environ.get("RAY_ADDRESS") or ("auto" if in_job else "local")
    environment: dict[str, object] = {"env_vars": WORKER_ENVIRONMENT}
    here: dict[str, object] = {}
    if address == "local":
        cores = sum(math.ceil(model.cpus) * _most_replicas(model) for model in models)
        here = {
            "num_cpus": max(os.cpu_count() or 1, cores + READERS),
            "object_store_memory": int(object_store_gib * 2**30),
            "include_dashboard": False,
        }
    elif not in_job:
        root = Path(__file__).parents[1]
        environment["py_modules"] = [str(root / name) for name in PACKAGES if (root / name).is_dir()]
    ray.init(address=address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR, **here)
    try:
        yield
    finally:
        ray.shutdown()


def _most_replicas(model: ModelSpec) -> int:
    return model.replicas if isinstance(model.replicas, int) else model.replicas[1]
