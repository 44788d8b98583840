"""GPU time and energy of this machine, where they can be read.

    GPUs         NVML's counters (the package nvidia-ml-py), of GPUs since Volta
    processors   RAPL's counters below /sys/class/powercap, which many machines show to root alone, and most virtual
                 ones to nobody

Energy is the whole machine's: what else runs on it at the time is in it. What cannot be read is None, never guessed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.backends.spec import ModelSpec
from engine.progress import EventLog
from engine.storage import Folder

POWERCAP = Path("/sys/class/powercap")
MILLIJOULES, MICROJOULES = 3.6e6, 3.6e9
"""In a watt-hour."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the counters say at one moment. Millijoules by GPU, microjoules by processor; None where there are none."""

    gpus: Mapping[str, int] | None
    processors: Mapping[str, int] | None


def read_counters(powercap: Path = POWERCAP) -> Counters:
    """The counters of this machine."""
    return Counters(_gpus(), _processors(powercap))


def _gpus() -> Mapping[str, int] | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
        found = {
            pynvml.nvmlDeviceGetUUID(each): int(pynvml.nvmlDeviceGetTotalEnergyConsumption(each)) for each in handles
        }
    except pynvml.NVMLError:  # one that has no counter: the sum is not known
        return None
    finally:
        pynvml.nvmlShutdown()
    return found or None


def _processors(powercap: Path) -> Mapping[str, int] | None:
    """Whole packages alone: `intel-rapl:0`, not its parts `intel-rapl:0:1`. AMD's are called the same."""
    try:
        found = {
            str(path.parent): int(path.read_text())
            for path in sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj"))
            if path.parent.name.count(":") == 1
        }
    except (OSError, ValueError):
        return None
    return found or None


def watt_hours(before: Counters, after: Counters) -> dict[str, float | None]:
    """What was used between two readings, by `gpus` and `processors`."""
    return {
        "gpus": _used(before.gpus, after.gpus, MILLIJOULES),
        "processors": _used(before.processors, after.processors, MICROJOULES),
    }


def _used(before: Mapping[str, int] | None, after: Mapping[str, int] | None, unit: float) -> float | None:
    if before is None or after is None or before.keys() != after.keys():
        return None
    used = 0
    for name, start in before.items():
        end = after[name]
        if end < start:  # the counter began anew
            limit = _range(name)
            if limit is None:
                return None
            end += limit
        used += end - start
    return used / unit


def _range(name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int((Path(name) / "max_energy_range_uj").read_text())
    return None


def gpus_held(models: Iterable[ModelSpec], available: float) -> float | None:
    """GPUs that the copies of these models hold, each model once, where so many are available; None where nobody knows:
    they are a server's, or as many as the load asks for."""
    distinct: list[ModelSpec] = []
    for spec in models:
        if spec not in distinct:
            distinct.append(spec)
    if any(spec.backend == "openai" for spec in distinct):
        return None
    holding = [spec for spec in distinct if spec.backend != "scripted" and spec.device != "cpu"] if available else []
    held = 0.0
    for spec in holding:
        if not isinstance(spec.replicas, int):
            return None
        held += (spec.tensor_parallel if spec.gpus is None else spec.gpus) * spec.replicas
    return held


def gpus_here() -> int:
    """GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


@contextmanager
def metered(run: Folder, work: str, gpus: float | None, *, here: bool) -> Iterator[None]:
    """Writes an event `metered` of the run when the work is left, by whatever way. `gpus` are those held, None where
    that is not known; `here` says that all of it runs on this machine, whose counters can be read."""
    nothing = Counters(None, None)
    before, start = read_counters() if here else nothing, time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - start
        used = watt_hours(before, read_counters() if here else nothing)
        gpu_seconds = None if gpus is None else round(gpus * seconds, 1)
        EventLog(run).write("metered", work=work, gpu_seconds=gpu_seconds, energy_wh=used)
