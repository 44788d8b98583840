"""What memory a run takes as its prompts grow: it should not grow with them.

    python benchmarks/memory.py [--rows 10000 100000 1000000] [--stage 02_revise]

Each count is a run of its own: synthetic prompts are frozen as a run freezes them, then one stage runs through Ray with
the scripted backend and is sealed. Prints seconds to start (imports, Ray), the largest memory of the driver while it
freezes the prompts and while the stage runs, of all workers together, shared memory, and open files at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

STARTED = time.perf_counter()
MIB = 2**20


@dataclass
class Peaks:
    """The largest sizes seen, in MiB. A driver's is its resident memory, less what it shares with other processes."""

    driver: float = 0.0
    workers: float = 0.0
    shared: float = 0.0
    stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        import psutil

        driver = psutil.Process()
        while not self.stop.wait(0.5):
            workers = 0.0
            for child in driver.children(recursive=True):
                try:
                    if "StageWorker" in "".join(child.cmdline()):
                        workers += child.memory_info().rss - child.memory_info().shared
                except psutil.Error:
                    continue
            own = driver.memory_info()
            self.driver = max(self.driver, (own.rss - own.shared) / MIB)
            self.workers = max(self.workers, workers / MIB)
            self.shared = max(self.shared, psutil.virtual_memory().shared / MIB)


@contextmanager
def watched() -> Iterator[Peaks]:
    """The peaks while the block runs."""
    peaks = Peaks()
    thread = threading.Thread(target=peaks.look, daemon=True)
    thread.start()
    yield peaks
    peaks.stop.set()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--stage", default="02_revise", choices=["02_revise", "03_compare"])
    settings = parser.parse_args()
    import psutil
    from row_cost import SCRIPTED, plan_of, prompt

    from charter.run import PROMPTS_PER_PART, prompts_store
    from engine.cluster import cluster
    from engine.duplicates import DuplicateFinder
    from engine.progress import EventLog, Reporter
    from engine.stages import run_stage
    from engine.storage import Folder, write_sealed

    imported = time.perf_counter() - STARTED
    print(f"{'rows':>9}{'freeze':>9}{'stage':>9}{'driver MiB':>22}{'workers MiB':>13}{'shared MiB':>12}{'files':>7}")
    print(f"{'':>9}{'s':>9}{'s':>9}{'freezing':>12}{'running':>10}")
    with cluster("local", 0.5, [SCRIPTED]):
        print(f"start: {imported:.1f} s imports, {time.perf_counter() - STARTED - imported:.1f} s Ray")
        for count in settings.rows:
            with tempfile.TemporaryDirectory() as place:
                folder = Folder(str(Path(place) / "run"))
                began = time.perf_counter()
                with watched() as freezing:
                    finder = DuplicateFinder(0.8)
                    distinct = finder.distinct(prompt(number) for number in range(count))
                    write_sealed(prompts_store(folder), iter(lambda: list(islice(distinct, PROMPTS_PER_PART)), []))  # noqa: B023
                frozen = time.perf_counter()
                with watched() as running:
                    plan = plan_of(folder, settings.stage)
                    reporter = Reporter(EventLog(folder))
                    counts = run_stage(plan, prompts_store(folder), reporter.watcher(settings.stage))
                assert counts["items"] == count, counts
                seconds = time.perf_counter() - frozen
                files = psutil.Process().num_fds()
                print(
                    f"{count:>9,}{frozen - began:>9.1f}{seconds:>9.1f}{freezing.driver:>12.0f}{running.driver:>10.0f}"
                    f"{running.workers:>13.0f}{running.shared:>12.0f}{files:>7}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
