"""What a Ray session on this machine and its driver hold at one moment. Linux alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import ray
from memory import MIB, object_store, own_mib
from ray._private import state

SHARED_MEMORY = Path("/dev/shm")
SERVICES = ("raylet", "gcs_server", "ray::DashboardAgent")
"""Ray's own processes that live as long as it does, and know of every actor or take its metrics."""

Held = Mapping[str, float]
"""Figure: how much. The figures are those of `Looker.look`."""


@dataclass
class Looker:
    """Looks at this process, which drives Ray, and at all processes that it started. `temporary` is its TMPDIR, below
    which Ray is too."""

    temporary: Path
    _driver: psutil.Process = field(default_factory=psutil.Process)
    _shared_before: frozenset[Path] = field(default_factory=lambda: frozenset(SHARED_MEMORY.iterdir()))

    def look(self) -> Held:
        """What is held now. Memory is resident and not shared with other processes; a process that ends while it is
        looked at holds nothing."""
        family = [self._driver, *self._driver.children(recursive=True)]
        workers = [each for each in family if "StageWorker" in "".join(command_line(each))]
        services = [each for each in family if Path("".join(command_line(each)[:1])).name in SERVICES]
        store = object_store()
        return {
            "driver: open files": total([self._driver], psutil.Process.num_fds),
            "driver: threads": total([self._driver], psutil.Process.num_threads),
            "driver: MiB": total([self._driver], own_mib),
            "driver: child processes": len(family) - 1,
            "stage workers: open files": total(workers, psutil.Process.num_fds),
            "stage workers: threads": total(workers, psutil.Process.num_threads),
            "stage workers: MiB": total(workers, own_mib),
            "Ray's services: open files": total(services, psutil.Process.num_fds),
            "Ray's services: MiB": total(services, own_mib),
            "Ray: actors": sum(actor["State"] != "DEAD" for actor in state.actors().values()),
            "Ray: placement groups": sum(
                group["state"] != "REMOVED" for group in ray.util.placement_group_table().values()
            ),
            "object store: objects": store.num_local_objects,
            "object store: MiB": store.object_store_bytes_used / MIB,
            "/dev/shm: MiB": self._shared_mib(family),
            "temporary files and folders": sum(1 for _ in kept_below(self.temporary)),
        }

    def _shared_mib(self, family: Iterable[psutil.Process]) -> float:
        """What the family has in /dev/shm, deleted files included, and what is new there and nobody's."""
        held = shared_files(family)
        new = [path for path in SHARED_MEMORY.iterdir() if path not in self._shared_before]
        if new:
            others = shared_files(psutil.process_iter()).keys() - held.keys()
            for path in new:
                with suppress(OSError):
                    status = path.stat()
                    if (key := (status.st_dev, status.st_ino)) not in others:
                        held[key] = status.st_blocks * 512
        return sum(held.values()) / MIB


def command_line(process: psutil.Process) -> list[str]:
    """Empty for one that has ended."""
    with suppress(psutil.Error):
        return list(process.cmdline())
    return []


def total(processes: Iterable[psutil.Process], held: Callable[[psutil.Process], float]) -> float:
    """What processes hold together; those that have ended hold nothing."""
    found = 0.0
    for each in processes:
        with suppress(psutil.Error):
            found += held(each)
    return found


def shared_files(processes: Iterable[psutil.Process]) -> dict[tuple[int, int], int]:
    """The files in /dev/shm that processes have open or mapped, by device and inode: bytes in memory. Only root sees
    what is mapped and not open; Ray keeps its files open."""
    found: dict[tuple[int, int], int] = {}
    for each in processes:
        for folder in ("fd", "map_files"):
            with suppress(OSError):
                for link in Path(f"/proc/{each.pid}/{folder}").iterdir():
                    with suppress(OSError):
                        if str(link.readlink()).startswith(f"{SHARED_MEMORY}/"):
                            status = link.stat()
                            found[status.st_dev, status.st_ino] = status.st_blocks * 512
    return found


def kept_below(folder: Path) -> Iterator[str]:
    """Files and folders, sockets and links included. Not Ray's logs, of which every process that it starts has its own:
    they stay by intent."""
    for place, folders, files in os.walk(folder):
        if stat.S_ISDIR(Path(place).lstat().st_mode) and "logs" in folders:
            folders.remove("logs")
        yield from (f"{place}/{name}" for name in [*folders, *files])
