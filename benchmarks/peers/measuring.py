"""A process with everything it starts: its seconds, the memory of all together, and the computing they did."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MIB = 2**20
LOOK_SECONDS = 0.25
ADOPT_ORPHANS = 36
"""Linux's PR_SET_CHILD_SUBREAPER."""


@dataclass
class Watched:
    """What was seen of a process and its descendants."""

    seconds: float = 0.0
    peak_mib: float = 0.0
    """The largest sum of resident sizes; what several processes share counts for each of them."""
    core_seconds: float = 0.0
    others_core_seconds: float = 0.0
    """What the rest of the machine computed in the same time."""
    exit_status: int | None = None
    moments: list[tuple[float, float]] = field(default_factory=list)
    """The time of each look, and the core-seconds until then."""
    _seen: dict[psutil.Process, float] = field(default_factory=dict, repr=False)
    _before: set[psutil.Process] = field(default_factory=set, repr=False)
    """What an earlier one left behind and is still ending."""

    def look(self) -> None:
        """Adds a moment. Processes whose parents are gone, as some of Ray's are, are now this process's children."""
        resident = 0
        for process in set(psutil.Process().children(recursive=True)) - self._before:
            self._seen.setdefault(process, 0.0)
        for process in self._seen:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._seen[process] = times.user + times.system
                    resident += process.memory_info().rss
            except psutil.Error:
                continue
        self.peak_mib = max(self.peak_mib, resident / MIB)
        self.core_seconds = sum(self._seen.values())
        self.moments.append((time.time(), self.core_seconds))

    def computed(self, start: float, end: float) -> float:
        """Core-seconds between two times, from the looks nearest to them."""
        before, after = (min(self.moments, key=lambda moment: abs(moment[0] - at))[1] for at in (start, end))
        return after - before

    def end(self) -> None:
        """Ends what is left of the processes."""
        for process in self._seen:
            try:
                process.kill()
            except psutil.Error:
                continue


def _machine_core_seconds() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def watch(command: Sequence[str], environment: Mapping[str, str], log: Path, limit: float) -> Watched:
    """Runs a command to its end, or for `limit` seconds, with what it prints in `log`."""
    watched = Watched(_before=set(psutil.Process().children(recursive=True)))
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1)
    busy, start = _machine_core_seconds(), time.time()
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None and time.time() - start < limit:
                watched.look()
                time.sleep(LOOK_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            watched.exit_status = process.wait() if time.time() - start < limit else None
    watched.seconds = time.time() - start
    watched.others_core_seconds = max(0.0, _machine_core_seconds() - busy - watched.core_seconds)
    watched.end()
    return watched
