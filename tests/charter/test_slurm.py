"""The Slurm script of the examples on a real Slurm: nodes that are lost, and a time limit.

A controller and three nodes, each a host of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.charter.hosts_for_tests import Host, network, why_no_hosts
from tests.charter.test_run import ROOT, stage_rows, write_recipe

pytestmark = [pytest.mark.soak, pytest.mark.filterwarnings("default")]

PROMPTS = 120
NODES = 3
CONFIGURATION = """\
ClusterName=charter
SlurmctldHost={first}({address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmdSpoolDir={folder}/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=15
KillWait=60
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@dataclass
class Slurm:
    """A controller on the first host and a daemon on each of the others, which can be lost with all that it started."""

    folder: Path
    hosts: list[Host]
    held: list[subprocess.Popen[bytes]] = field(default_factory=list)
    daemons: dict[Host, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "CHARTER_BIN": str(Path(sys.executable).parent),
        }

    def begin(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.hold(
            "munged", "--foreground", "--force", *(f"--{at}={self.folder}/munge.{end}" for at, end in files.items())
        )
        lines = [f"NodeName={each.name} NodeAddr={each.address} CPUs=2 State=UNKNOWN" for each in self.hosts[1:]]
        first = self.hosts[0]
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(folder=self.folder, first=first.name, address=first.address, nodes="\n".join(lines))
        )
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # not used, and not looked for then
        (self.folder / "state").mkdir()
        self.hold(*first.command("slurmctld", "-D"))
        for host in self.hosts[1:]:
            self.add(host)
        self.until(lambda: len(re.findall(r"\bidle\b", self.asked("sinfo", "-h", "-N", "-o", "%T"))) == NODES)

    def hold(self, *command: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{len(self.held)}.log").open("wb")
        with log:
            self.held.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        return self.held[-1]

    def add(self, host: Host) -> None:
        (self.folder / host.name).mkdir(exist_ok=True)
        self.daemons[host] = self.hold(*host.command("slurmd", "-D"))

    def asked(self, *command: str) -> str:
        """What a command of Slurm says on the first host."""
        done = subprocess.run(
            self.hosts[0].command(*command), env=self.environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def until(self, ready: Callable[[], Any], seconds: float = 240) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := ready()):
            assert all(each.poll() is None for each in self.daemons.values()), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.5)
        return found

    def said(self) -> str:
        texts = [self.asked("scontrol", "show", "job"), self.asked("scontrol", "show", "node")]
        return "\n".join([*texts, *(path.read_text()[-3000:] for path in sorted(self.folder.glob("*.log")))])

    def submit(self, recipe: Path, *options: str) -> str:
        """The number of a job of the script."""
        where = (f"--nodes={NODES}", f"--output={self.folder}/job.log", "--open-mode=append")
        said = self.asked("sbatch", "--parsable", *where, *options, "examples/slurm.sh", str(recipe))
        assert said.strip().isdigit(), said
        return said.strip()

    def state(self, job: str) -> str:
        found = re.search(r"JobState=(\w+)", self.asked("scontrol", "show", "job", job))
        return found[1] if found else ""

    def lose(self, host: Host) -> None:
        """The host's daemon and everything in its namespace, as when it loses its power."""
        host.lose_power()
        self.daemons.pop(host).wait(30)

    def end(self) -> None:
        for host in list(self.daemons):
            self.lose(host)
        while self.held:
            each = self.held.pop()
            each.kill()
            each.wait(30)


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed (Debian: slurmctld, slurmd, slurm-client, munge)")
    if reason := why_no_hosts():
        pytest.skip(reason)
    with ExitStack() as held:
        place = held.enter_context(TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True))
        made = held.enter_context(network())
        for _ in range(1 + NODES):
            made.add()
        started = Slurm(Path(place), made.hosts)
        held.callback(started.end)
        started.begin()
        yield started


def recipe_for(folder: Path, name: str) -> Path:
    path = write_recipe(folder, name, latency=1.0)
    described = yaml.safe_load(path.read_text())
    prompts = folder / "many.jsonl"
    prompts.write_text("".join(f'{{"prompt": "Question {number}: how?"}}\n' for number in range(PROMPTS)))
    described["prompts"] = [{"path": str(prompts)}]
    described["models"]["policy"] |= {"cpus": 1, "replicas": 3}
    path.write_text(yaml.safe_dump(described))
    return path


def rows_begun(run: Path) -> bool:
    return bool(list((run / "stages/02_revise/_unsealed/rows").rglob("*.parquet")))


def every_prompt_once(run: Path) -> None:
    for stage in ("02_revise", "03_compare"):
        assert [row["index"] for row in stage_rows(run, stage)] == list(range(PROMPTS)), stage


def test_a_job_that_is_not_to_be_ended_goes_on_without_a_lost_node(tmp_path: Path, slurm: Slurm) -> None:
    run, recipe = tmp_path / "fewer", recipe_for(tmp_path, "fewer")
    job = slurm.submit(recipe, "--no-kill")
    slurm.until(lambda: rows_begun(run))
    slurm.lose(slurm.hosts[-1])
    slurm.until(lambda: slurm.state(job) == "COMPLETED", 400)
    assert "Restarts=0" in slurm.asked("scontrol", "show", "job", job)
    assert "DOWN" in slurm.asked("scontrol", "show", "node", slurm.hosts[-1].name)
    every_prompt_once(run)


def test_a_job_that_loses_a_node_is_queued_again_and_goes_on(tmp_path: Path, slurm: Slurm) -> None:
    """The first node: with the driver and Ray's head everything of the job is lost but what is on disk."""
    run, recipe = tmp_path / "lost", recipe_for(tmp_path, "lost")
    job = slurm.submit(recipe)
    slurm.until(lambda: rows_begun(run))
    first = next(
        host for host in slurm.hosts[1:] if f"BatchHost={host.name}\n" in slurm.asked("scontrol", "show", "job", job)
    )
    slurm.lose(first)
    slurm.until(lambda: slurm.state(job) == "PENDING")
    slurm.add(first)
    slurm.until(lambda: slurm.state(job) == "COMPLETED", 500)
    assert "Restarts=1" in slurm.asked("scontrol", "show", "job", job)
    every_prompt_once(run)


def test_a_job_at_its_time_limit_stops_in_order(tmp_path: Path, slurm: Slurm) -> None:
    """And the same script, submitted again, goes on."""
    run, recipe = tmp_path / "late", recipe_for(tmp_path, "late")
    job = slurm.submit(recipe)
    slurm.until(lambda: rows_begun(run))
    assert slurm.asked("scontrol", "update", f"JobId={job}", "TimeLimit=1") == ""
    slurm.until(lambda: slurm.state(job) == "TIMEOUT")
    said = (slurm.folder / "job.log").read_text()
    assert "--resume" in said, said
    assert not (run / "stages/02_revise/_SEALED.json").exists()
    again = slurm.submit(recipe)
    slurm.until(lambda: slurm.state(again) == "COMPLETED", 400)
    every_prompt_once(run)
