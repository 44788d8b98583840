"""One recipe on a cluster of several Ray nodes, which lose a worker, a node, the network and the driver in turn.

Every node is a raylet of its own with its own resources, on this machine. What is left behind is what a run on one
machine leaves: every prompt once, and the same labels.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from ray.cluster_utils import Cluster

from tests.charter.test_run import ROOT, finish, stage_rows, start, wait_for_rows, write_recipe

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("default")]

PROMPTS = 120
SILENT_SECONDS = 60
"""Longer than Ray waits for a node that says nothing."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head without room for models, and two nodes for them. It wants a token, as Ray 2.60 does by default."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    for _ in range(2):
        started.add_node(num_cpus=2, object_store_memory=2**27)
    started.wait_for_nodes()
    yield started
    started.shutdown()


def recipe_for(folder: Path, name: str, **changes: Any) -> Path:
    path = write_recipe(folder, name, latency=0.3)
    described = yaml.safe_load(path.read_text())
    prompts = folder / "many.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Question {number}: how?"}}\n' for number in range(PROMPTS)))
    described["prompts"] = [{"path": str(prompts)}]
    described["models"]["policy"] |= {"cpus": 1, "replicas": [2, 3]}
    path.write_text(yaml.safe_dump(described | changes))
    return path


def workers_of(raylet: psutil.Process) -> list[psutil.Process]:
    """The workers of a node that run a stage."""
    return [each for each in raylet.children(recursive=True) if "StageWorker" in "".join(each.cmdline())]


def raylet_of(node: Any) -> psutil.Process:
    (info,) = node.all_processes["raylet"]
    return psutil.Process(info.process.pid)


def until(ready: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 200) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def parts(run: Path, stage: str) -> int:
    return len(list((run / "stages" / stage / "_unsealed" / "rows").rglob("*.parquet")))


def every_prompt_once(run: Path) -> None:
    for stage in ("02_revise", "03_compare"):
        assert [row["index"] for row in stage_rows(run, stage)] == list(range(PROMPTS)), stage


def test_every_prompt_comes_out_once_whatever_the_cluster_loses(tmp_path: Path, cluster: Cluster) -> None:
    address = ("--set", f"ray.address={cluster.address}")
    calm = tmp_path / "calm"
    status, said = finish(start("run", recipe_for(tmp_path, "calm"), *address))
    assert status == 0, said
    every_prompt_once(calm)

    run, recipe = tmp_path / "shaken", recipe_for(tmp_path, "shaken")
    nodes = sorted(cluster.worker_nodes, key=lambda node: raylet_of(node).pid)
    process = start("run", recipe, *address)
    wait_for_rows(run, "02_revise", process)
    until(lambda: all(workers_of(raylet_of(node)) for node in nodes), process)

    workers_of(raylet_of(nodes[0]))[0].kill()
    before = parts(run, "02_revise")
    until(lambda: parts(run, "02_revise") > before, process)

    cluster.remove_node(nodes[1], allow_graceful=False)
    cluster.add_node(num_cpus=2, object_store_memory=2**27)
    wait_for_rows(run, "03_compare", process)

    # A node that says nothing for a while is given up; what it goes on to write afterwards is written twice.
    silent = next(node for node in cluster.worker_nodes if workers_of(raylet_of(node)))
    family = [raylet_of(silent), *raylet_of(silent).children(recursive=True)]
    for each in family:
        each.suspend()
    time.sleep(SILENT_SECONDS)
    for each in family:
        if each.is_running():
            each.resume()
    cluster.add_node(num_cpus=2, object_store_memory=2**27)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    status, said = finish(start("run", recipe, *address, "--resume"))
    assert status == 0, said
    every_prompt_once(run)
    for stage in ("02_revise", "03_compare"):
        assert stage_rows(run, stage) == stage_rows(calm, stage)


def test_a_run_is_submitted_as_a_job_with_nothing_of_ours_installed(tmp_path: Path) -> None:
    """`ray job submit --working-dir` brings the packages; the cluster is one that `ray start` made."""
    ray = [str(Path(sys.executable).with_name("ray"))]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    head = [*ray, "start", "--head", "--block", "--port=46379", "--dashboard-port=48265", "--num-cpus=2"]
    options = ["--include-dashboard=true", "--disable-usage-stats", f"--temp-dir={tmp_path / 'ray'}"]
    place = tmp_path / "elsewhere"  # where `charter` cannot be imported from
    place.mkdir()
    with (tmp_path / "head.log").open("wb") as log:
        started = subprocess.Popen([*head, *options], cwd=place, env=environment, stdout=log, stderr=log)
        try:
            recipe = recipe_for(tmp_path, "submitted", limit=8)
            command = [*ray, "job", "submit", "--address", "http://127.0.0.1:48265", "--working-dir", str(ROOT), "--"]
            command += [sys.executable, "-m", "charter", "run", str(recipe)]
            deadline = time.monotonic() + 300
            while True:
                done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
                if "Failed to connect" not in done.stdout + done.stderr or time.monotonic() > deadline:
                    break
                time.sleep(3)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "data/preferences" in done.stdout
            assert len(stage_rows(tmp_path / "submitted", "02_revise")) == 8
        finally:
            started.terminate()
            started.wait(60)
