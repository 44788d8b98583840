"""One recipe on a cluster of several Ray nodes, which lose a worker, a node, the network and the driver in turn.

Every node is a host with an address and resources of its own where root can make network namespaces, and a raylet with
resources of its own elsewhere. What is left behind is what a run on one machine leaves: every prompt once, and the same
labels.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from tests.charter.hosts_for_tests import Host, Network, network, why_no_hosts
from tests.charter.test_run import ROOT, finish, stage_rows, start, wait_for_rows, write_recipe
from tests.trainers.pairs_for_tests import write_pairs_file
from tests.trainers.rows_for_training import losses

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("default")]

PROMPTS = 120
SHORT_SECONDS = 5
"""Shorter than Ray waits for a node that says nothing."""
SILENT_SECONDS = 60
"""Longer."""


RAY = str(Path(sys.executable).with_name("ray"))


@dataclass
class Node:
    """A process of `ray start`, and the host that it runs on; None for this machine."""

    process: subprocess.Popen[bytes]
    host: Host | None

    @property
    def family(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(self.process.pid).children(recursive=True)
        return found

    def kill(self) -> None:
        """As a machine that loses its power."""
        for each in [*self.family, self.process]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait(30)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Neither hears nor says anything: its cable is pulled. Without hosts all its processes are stopped."""
        if self.host is not None:
            self.host.pull_cable()
            yield
            self.host.plug_cable()
            return
        stopped = self.family
        for each in stopped:
            each.suspend()
        yield
        for each in stopped:
            with suppress(psutil.NoSuchProcess):
                each.resume()


@dataclass
class Nodes:
    """A head without room for models, and nodes for them, which want a token."""

    folder: Path
    port: int
    network: Network | None
    started: list[Node] = field(default_factory=list)
    environment: dict[str, str] = field(
        default_factory=lambda: os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    )

    @property
    def head_host(self) -> Host | None:
        return self.started[0].host

    @property
    def ip_address(self) -> str:
        return self.head_host.address if self.head_host else "127.0.0.1"

    @property
    def address(self) -> str:
        return f"{self.ip_address}:{self.port}"

    def start(self, *options: str) -> Node:
        """`ray start`; returns when the node has its raylet."""
        command = [RAY, "start", "--block", "--disable-usage-stats", f"--object-store-memory={2**27}", *options]
        host = self.network.add() if self.network else None
        if host:
            command = host.command(*command, f"--node-ip-address={host.address}")
        said = self.folder / f"node-{len(self.started)}.log"
        with said.open("wb") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        node = Node(process, host)
        self.started.append(node)
        deadline = time.monotonic() + 200
        while "raylet" not in [each.name() for each in node.family]:
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        return node

    def head(self, *options: str) -> Node:
        return self.start("--head", f"--port={self.port}", f"--temp-dir={self.folder / 'r'}", *options)

    def add(self, cpus: int = 2) -> Node:
        return self.start(f"--address={self.address}", f"--num-cpus={cpus}")

    def charter(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """A command of ours where the head is."""
        return start(*arguments, on=self.head_host)

    def end(self) -> None:
        while self.started:
            self.started.pop().kill()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    reason = why_no_hosts()
    with ExitStack() as held:
        place = held.enter_context(TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))  # a short path
        started = Nodes(Path(place), free_port(), held.enter_context(network()) if reason is None else None)
        print(f"nodes on hosts of their own: {reason or 'yes'}")
        held.callback(started.end)
        yield started


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def recipe_for(folder: Path, name: str, **changes: Any) -> Path:
    path = write_recipe(folder, name, latency=0.5)  # long enough that every loss comes while a stage runs
    described = yaml.safe_load(path.read_text())
    prompts = folder / "many.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Question {number}: how?"}}\n' for number in range(PROMPTS)))
    described["prompts"] = [{"path": str(prompts)}]
    described["models"]["policy"] |= {"cpus": 1, "replicas": [2, 3]}
    path.write_text(yaml.safe_dump(described | changes))
    return path


def working(nodes: Iterable[Node], at: str = "StageWorker") -> list[psutil.Process]:
    """The workers of nodes that run a stage, or do something else."""
    found = []
    for each in (process for node in nodes for process in node.family):
        with suppress(psutil.Error):
            if at in "".join(each.cmdline()):
                found.append(each)
    return found


def until(ready: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 200) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ready()):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def rows_done(run: Path, stage: str) -> int:
    """Rows on disk while a stage runs; the parts of an order become one when it is finished."""
    done = 0
    for path in (run / "stages" / stage / "_unsealed" / "rows").rglob("*.parquet"):
        with suppress(FileNotFoundError):
            done += pq.read_metadata(path).num_rows
    return done


def every_prompt_once(run: Path) -> None:
    for stage in ("02_revise", "03_compare"):
        assert [row["index"] for row in stage_rows(run, stage)] == list(range(PROMPTS)), stage


def test_every_prompt_comes_out_once_whatever_the_cluster_loses(
    tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, nodes.environment[name])
    nodes.head("--num-cpus=1", "--include-dashboard=false")
    first, second = nodes.add(), nodes.add()
    address = ("--set", f"ray.address={nodes.address}")
    run, recipe = tmp_path / "shaken", recipe_for(tmp_path, "shaken")
    process = nodes.charter("run", recipe, *address)
    wait_for_rows(run, "02_revise", process)
    with first.silent():
        time.sleep(SHORT_SECONDS)
    until(lambda: working((first, second)), process).pop().kill()
    before = rows_done(run, "02_revise")
    until(lambda: rows_done(run, "02_revise") > before, process)

    lost = until(lambda: next((node for node in (first, second) if working([node])), None), process)
    lost.kill()
    third = nodes.add()
    wait_for_rows(run, "03_compare", process)

    # A node that says nothing for a while is given up; what it goes on to write afterwards is written twice.
    left = [node for node in (first, second, third) if node is not lost]
    with until(lambda: next((node for node in left if working([node])), None), process).silent():
        time.sleep(SILENT_SECONDS)
    nodes.add()
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    status, said = finish(nodes.charter("run", recipe, *address, "--resume"))
    assert status == 0, said
    every_prompt_once(run)

    nodes.end()
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name)
    calm = recipe_for(tmp_path, "calm")
    status, said = finish(start("run", calm))
    assert status == 0, said
    for stage in ("02_revise", "03_compare"):
        assert stage_rows(run, stage) == stage_rows(tmp_path / "calm", stage)


def test_a_run_is_submitted_as_a_job_with_nothing_of_ours_installed(tmp_path: Path, nodes: Nodes) -> None:
    """`ray job submit --working-dir` brings the packages to a cluster that `ray start` made."""
    dashboard = free_port()
    host = nodes.head("--num-cpus=2", "--include-dashboard=true", f"--dashboard-port={dashboard}").host
    recipe = recipe_for(tmp_path, "submitted", limit=8)
    command = [RAY, "job", "submit", "--address", f"http://127.0.0.1:{dashboard}", "--working-dir", str(ROOT), "--"]
    command += [sys.executable, "-m", "charter", "run", str(recipe)]
    if host is not None:
        command = host.command(*command)
    deadline = time.monotonic() + 300
    while True:  # the dashboard listens some time after the node does
        done = subprocess.run(
            command, cwd=nodes.folder, env=nodes.environment, capture_output=True, text=True, check=False
        )
        if "Failed to connect" not in done.stdout + done.stderr or time.monotonic() > deadline:
            break
        time.sleep(3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "data/preferences" in done.stdout
    assert len(stage_rows(tmp_path / "submitted", "02_revise")) == 8


def test_a_run_from_a_machine_outside_of_the_cluster(
    tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a Ray client, stopped by Ctrl-C on the way: nothing of it stays at work on the cluster."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, nodes.environment[name])
    port = free_port()
    head = nodes.head("--num-cpus=3", "--include-dashboard=false", f"--ray-client-server-port={port}")
    outside = nodes.network.add() if nodes.network else None
    run, recipe = tmp_path / "outside", recipe_for(tmp_path, "outside", limit=60)
    command: list[str | Path] = ["run", recipe, "--set", f"ray.address=ray://{nodes.ip_address}:{port}"]
    process = start(*command, on=outside)
    wait_for_rows(run, "02_revise", process)
    process.send_signal(signal.SIGINT)
    status, said = finish(process)
    assert status == 130, said
    deadline = time.monotonic() + 60
    while working([head]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    status, said = finish(start(*command, "--resume", on=outside))
    assert status == 0, said
    for stage in ("02_revise", "03_compare"):
        assert [row["index"] for row in stage_rows(run, stage)] == list(range(60)), stage


def test_a_training_on_two_nodes_is_that_of_one_process(
    tmp_path: Path, nodes: Nodes, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node has room for one of the two workers. The last batch of a pass is an incomplete one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, nodes.environment[name])
    nodes.head("--num-cpus=0", "--include-dashboard=false")
    both = [nodes.add(cpus=1), nodes.add(cpus=1)]
    pairs = write_pairs_file(tmp_path / "pairs.jsonl", 203)
    command: list[str | Path] = ["train", "pm", "--model", tiny_model, "--data", pairs]
    for setting in ("optimization.batch_size=8", "optimization.epochs=3", "optimization.learning_rate=0.001"):
        command += ["--set", setting]
    status, said = finish(start(*command, "--output", tmp_path / "one"))
    assert status == 0, said

    command += ["--workers", "2", "--set", f"launch.address={nodes.address}"]
    process = nodes.charter(*command, "--output", tmp_path / "two")
    until(lambda: all(working([node], "RayTrainWorker") for node in both), process)
    status, said = finish(process)
    assert status == 0, said
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    assert len(one) > 60
    assert two == pytest.approx(one, abs=1e-4)
    one, two = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("one", "two"))
    assert two == one
