"""Half an hour of runs in one process, and half an hour of one stage: nothing that they hold grows.

CHARTER_SOAK_MINUTES says how long each takes instead of 30; a few minutes try the tests, not the product. `pytest -s`
shows every look, and the figures at the end. On a machine with other work, set RAY_worker_niceness=0: Ray's workers
give way to everything otherwise.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml

from charter.recipe import load_recipe
from charter.run import execute
from constitution import BadInput
from engine.cluster import cluster
from engine.model import ModelUnavailable
from tests.charter.test_run import COUNT, stage_rows, write_recipe
from tests.charter.what_is_held import Held, Looker, command_line

MINUTES = float(os.environ.get("CHARTER_SOAK_MINUTES", "30"))
SETTLING_SECONDS = 8
LOOKS = 120
"""At a long stage. Each takes a twentieth of a second of processor time."""
WARM_UP = 0.25
"""Share of the looks. Libraries are imported then, and pools and caches fill."""

# From the beginning of one half to that of the other lie three eighths of the time: what a cycle of runs leaves once
# would add four to a count, and two kilobytes that a prompt of the long stage leaves 17 MiB. The allocators of the two
# stage workers take and give back up to 40 MiB in waves of some minutes. Counts may differ by what libraries open and
# close as they like, Ray's gcs_server in bouts of dozens; pools take their threads one by one. The driver may grow by
# what Ray Data keeps of a stage's orders (docs/reliability.md). The memory of Ray's services is shown and not held:
# they remember every worker that ever was.
MAY_GROW = {
    "driver: open files": 2,
    "driver: threads": 8,
    "driver: MiB": 24,
    "driver: child processes": 1,
    "stage workers: open files": 2,
    "stage workers: threads": 8,
    "stage workers: MiB": 8,
    "Ray's services: open files": 40,
    "Ray's services: MiB": math.inf,
    "Ray: actors": 0,
    "Ray: placement groups": 0,
    "object store: objects": 0,
    "object store: MiB": 0.1,
    "/dev/shm: MiB": 1,
    "temporary files and folders": 0,
}

pytestmark = [
    pytest.mark.soak,
    pytest.mark.filterwarnings("default"),  # Ray's own start-up warns
    pytest.mark.timeout(120 * MINUTES + 900),
]


@pytest.fixture(scope="module")
def looker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looker]:
    """A Ray for all tests, with temporary files of its own; pytest's folders stand elsewhere."""
    tmp_path_factory.getbasetemp()
    with (
        tempfile.TemporaryDirectory(
            prefix="soak-", dir="/tmp", ignore_cleanup_errors=True
        ) as temporary,  # short: sockets
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", temporary)
        patch.setattr(tempfile, "tempdir", None)
        looker = Looker(Path(temporary))
        with cluster("local", 0.2, []):
            yield looker


def least(looks: Sequence[Held]) -> Held:
    """Each figure's least. What is in use for a moment is not in it, what is never given back is."""
    return {name: min(look[name] for look in looks) for name in looks[0]}


@dataclass(frozen=True)
class Course:
    """What was held at least in the first and in the second half of the looks after the warm-up."""

    looks: int
    first: Held
    second: Held

    @classmethod
    def of(cls, looks: Sequence[Held]) -> Course:
        warm = looks[int(WARM_UP * len(looks)) :]
        half = len(warm) // 2
        return cls(len(looks), least(warm[:half]), least(warm[half:]))

    def grown(self) -> dict[str, str]:
        """The figures that grew by more than they may."""
        return {
            name: f"{before:.1f} ► {self.second[name]:.1f}"
            for name, before in self.first.items()
            if self.second[name] - before > MAY_GROW[name]
        }

    def table(self, title: str) -> str:
        lines = [f"\n{title}, {self.looks} looks", f"{'':<34}{'first half':>12}{'second half':>12}{'may grow':>10}"]
        lines += [
            f"{name:<34}{self.first[name]:>12.1f}{self.second[name]:>12.1f}{MAY_GROW[name]:>10}" for name in MAY_GROW
        ]
        return "\n".join(lines)


def settled(looker: Looker) -> Held:
    """What is held between two runs: Ray ends processes some seconds after they are no longer needed."""
    looks = []
    for _ in range(SETTLING_SECONDS):
        time.sleep(1)
        looks.append(looker.look())
    return least(looks)


# Run after run --------------------------------------------------------------------------------------------------------


def rows_on_disk(run: Path, stage: str) -> bool:
    return any((run / "stages" / stage / "_unsealed" / "rows").rglob("*.parquet"))


@contextmanager
def when_rows_are_on_disk(run: Path, stage: str, act: Callable[[], None]) -> Iterator[None]:
    """Acts once the stage has rows, beside the block, and expects that it did."""
    acted = threading.Event()
    left = threading.Event()

    def watch() -> None:
        while not left.wait(0.05):
            if rows_on_disk(run, stage):
                acted.set()
                act()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()
    assert acted.is_set()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def kill_stage_workers() -> None:
    for each in psutil.Process().children(recursive=True):
        if "StageWorker" in "".join(command_line(each)):
            with suppress(psutil.NoSuchProcess):
                each.kill()


def run_once(
    folder: Path, *, resume: bool = False, latency: float = 0.1, rules: tuple[dict[str, Any], ...] = ()
) -> int:
    return execute(load_recipe(write_recipe(folder, "run", latency=latency, rules=rules)), resume=resume).exit_status


def every_row(folder: Path) -> None:
    for stage in ("02_revise", "03_compare"):
        assert [row["index"] for row in stage_rows(folder / "run", stage)] == list(range(COUNT)), stage


def run_calmly(folder: Path) -> None:
    assert run_once(folder) == 0
    every_row(folder)
    with pytest.raises(BadInput):
        run_once(folder)


def run_with_rows_set_aside(folder: Path) -> None:
    assert run_once(folder, rules=({"match": "Question 7: how", "fail": -1},)) == 3


def run_without_a_server(folder: Path) -> None:
    with pytest.raises(ModelUnavailable):
        run_once(folder, rules=({"match": "Question 2.: how|^Hello$", "fail": -1},))
    assert run_once(folder, resume=True) == 0
    every_row(folder)


def run_interrupted(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), when_rows_are_on_disk(folder / "run", "02_revise", interrupt):
        run_once(folder)
    with pytest.raises(KeyboardInterrupt), when_rows_are_on_disk(folder / "run", "03_compare", interrupt):
        run_once(folder, resume=True)
    assert run_once(folder, resume=True) == 0
    every_row(folder)


def run_with_killed_workers(folder: Path) -> None:
    with when_rows_are_on_disk(folder / "run", "02_revise", kill_stage_workers):
        assert run_once(folder) == 0
    every_row(folder)


RUNS = (run_calmly, run_with_rows_set_aside, run_without_a_server, run_interrupted, run_with_killed_workers)


def test_run_after_run_in_one_process_leaves_nothing_behind(tmp_path: Path, looker: Looker) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    ends, looks = time.monotonic() + 60 * MINUTES, list[Held]()
    while time.monotonic() < ends or len(looks) < 4:
        for place, run in enumerate(RUNS):
            folder = tmp_path / f"{len(looks)}-{place}"
            folder.mkdir()
            run(folder)
            assert list(folder.rglob("*.tmp")) == [], "a file is whole or not there"
        looks.append(settled(looker))
        print(len(looks), json.dumps(looks[-1]), flush=True)
    course = Course.of(looks)
    print(course.table(f"run after run, {len(RUNS)} kinds of them between two looks"))
    assert course.grown() == {}
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


# One long stage -------------------------------------------------------------------------------------------------------

WORKERS, ROWS_AT_ONCE, CALLS, LATENCY = 2, 16, 5, 0.5
"""Calls of a row and the seconds that each takes."""


def test_a_long_stage_holds_no_more_at_its_end(tmp_path: Path, looker: Looker) -> None:
    prompts = int(60 * MINUTES * WORKERS * ROWS_AT_ONCE / (CALLS * LATENCY))
    path = write_recipe(tmp_path, "long", latency=LATENCY)
    described = yaml.safe_load(path.read_text())
    many = tmp_path / "many.jsonl"
    many.write_text("".join(f'{{"prompt": "Question {number}: how?"}}\n' for number in range(prompts)))
    described |= {"prompts": [{"path": str(many)}], "compare": None}
    described["rows"] = {"rows_per_batch": 64, "rows_in_flight": ROWS_AT_ONCE}
    described["models"]["policy"] |= {"replicas": WORKERS}
    path.write_text(yaml.safe_dump(described))

    looks, left = list[Held](), threading.Event()

    def watch() -> None:
        while not rows_on_disk(tmp_path / "long", "02_revise"):
            if left.wait(1):
                return
        while len(looks) < LOOKS and not left.wait(60 * MINUTES * 0.9 / LOOKS):  # before the workers end
            looks.append(looker.look())
            print(len(looks), json.dumps(looks[-1]), flush=True)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        outcome = execute(load_recipe(path))
    finally:
        left.set()
        watching.join()
    assert outcome.stages["02_revise"] == {"rows": prompts, "items": prompts, "failed": 0}
    assert len(looks) > 0.7 * LOOKS
    course = Course.of(looks)
    print(course.table(f"one stage of {prompts:,} prompts"))
    assert course.grown() == {}


# The measure ----------------------------------------------------------------------------------------------------------

Leak = Callable[[ExitStack], object]
"""Holds something until the stack is left."""


def hold_in_worker(stack: ExitStack) -> None:
    """An actor under the name of those that are looked at."""

    class StageWorker:  # in here it travels by value: workers find no test modules
        def __init__(self) -> None:
            self.held = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)], b"x" * 2**24
            for _ in range(30):
                threading.Thread(target=threading.Event().wait, daemon=True).start()

        def is_up(self) -> bool:
            return True

    worker = ray.remote(StageWorker).remote()
    stack.callback(ray.kill, worker)
    assert ray.get(worker.is_up.remote())


def hold_files(stack: ExitStack) -> None:
    for _ in range(10):
        stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))


def hold_threads(stack: ExitStack) -> None:
    ended = threading.Event()
    stack.callback(ended.set)
    for _ in range(30):
        threading.Thread(target=ended.wait, daemon=True).start()


def hold_processes(stack: ExitStack) -> None:
    for _ in range(2):
        process = stack.enter_context(subprocess.Popen(["sleep", "600"]))
        stack.callback(process.kill)


def leave_shared_memory(stack: ExitStack) -> None:
    """Of a process that has ended."""
    path = Path("/dev/shm") / f"left-by-{os.getpid()}"
    stack.callback(path.unlink)
    subprocess.run([sys.executable, "-c", f"open({str(path)!r}, 'wb').write(bytes(2**22))"], check=True)


def hold_shared_memory(stack: ExitStack) -> None:
    held = SharedMemory(create=True, size=2**22)
    stack.callback(held.unlink)
    stack.callback(held.close)
    assert held.buf is not None
    held.buf[:] = bytes(2**22)


def hold_placement_group(stack: ExitStack) -> None:
    group = ray.util.placement_group([{"CPU": 0.1}])
    stack.callback(ray.util.remove_placement_group, group)
    ray.get(group.ready())


def hold_object(stack: ExitStack) -> None:
    held = [ray.put(bytes(2**20))]
    stack.callback(held.clear)


LEAKS: list[tuple[str, Leak]] = [
    ("driver: open files", hold_files),
    ("driver: threads", hold_threads),
    ("driver: MiB", lambda stack: stack.callback([b"x" * 2**25].clear)),
    ("driver: child processes", hold_processes),
    ("stage workers: open files", hold_in_worker),
    ("stage workers: threads", hold_in_worker),
    ("stage workers: MiB", hold_in_worker),
    ("Ray: actors", hold_in_worker),
    ("Ray: placement groups", hold_placement_group),
    ("object store: objects", hold_object),
    ("object store: MiB", hold_object),
    ("/dev/shm: MiB", hold_shared_memory),
    ("/dev/shm: MiB", leave_shared_memory),
    ("temporary files and folders", lambda stack: stack.callback(Path(tempfile.mkstemp()[1]).unlink)),
    ("temporary files and folders", lambda stack: stack.enter_context(tempfile.TemporaryDirectory())),
]


@pytest.mark.parametrize(("figure", "leak"), LEAKS)
def test_a_leak_is_seen(looker: Looker, figure: str, leak: Leak) -> None:
    before = settled(looker)
    with ExitStack() as stack:
        leak(stack)
        after = settled(looker)
    assert figure in Course.of([before] * 6 + [after] * 6).grown()
