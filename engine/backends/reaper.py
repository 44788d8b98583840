"""Kills the engine's processes when the process that started them dies without a word.

vLLM's engine core outlives a host that was killed with SIGKILL, and goes on holding the memory. A small process of
its own watches the host, and ends what the host has registered.

    host ──"pid start-time"──► reaper ──SIGKILL──► engine core and its workers, once the host is gone

Started as a file, not imported, so that it costs one bare interpreter (about 10 MB). Linux only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path


class Reaper:
    """The host's end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """Registers a process of the host. Starts the watcher with the first one."""
        started = start_time(pid)
        if started is None:
            return
        if self._process is None:
            command = [sys.executable, "-S", "-E", str(Path(__file__).resolve()), str(os.getpid())]
            # Its own session, so that a Ctrl-C or a signal to the host's group leaves it alive to do its work.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{pid} {started}\n".encode())
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Ends the watcher: the engine is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process, so that a reused id is not taken for it. None: it is gone."""
    fields = _status(pid)
    return None if fields is None else int(fields[19])


def _status(pid: int) -> list[str] | None:
    """/proc/PID/stat after the process name, which may itself hold blanks and brackets."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > 19 and fields[0] != "Z" else None


def descendants(roots: set[int]) -> set[int]:
    """The processes below the roots, the roots included."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _status(int(entry.name))) is not None:
            parents[int(entry.name)] = int(fields[1])
    found = {pid for pid in roots if pid in parents}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def with_start_times(pids: Iterable[int | None]) -> dict[int, int]:
    """The processes and their descendants that are alive, as `end` takes them."""
    family = descendants({pid for pid in pids if pid is not None})
    return {pid: started for pid in family if (started := start_time(pid)) is not None}


def end(registered: dict[int, int]) -> None:
    """SIGKILL to the registered processes that are still the same, and to what they started."""
    alive = {pid for pid, started in registered.items() if start_time(pid) == started}
    for pid in descendants(alive):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def wait_for(host: int) -> dict[int, int]:
    """What the host registered until it died."""
    registered: dict[int, int] = {}
    try:
        death = os.pidfd_open(host)
    except ProcessLookupError:
        return registered
    poll = select.poll()
    poll.register(death, select.POLLIN)
    poll.register(0, select.POLLIN)
    left = b""
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                poll.unregister(0)
            *lines, left = (left + read).split(b"\n")
            registered.update((int(pid), int(started)) for pid, started in (line.split() for line in lines))
        elif death in ready:  # only once everything written is read
            return registered


if __name__ == "__main__":
    end(wait_for(int(sys.argv[1])))
