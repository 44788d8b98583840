"""Searches for a file that is answered with another error than BadInput, led by what its bytes reach in our code.

    make fuzz                                                          every kind of file, ten seconds each
    python -m tests.charter.fuzz_any_file --seconds 600 law.yaml       one kind for longer

atheris (libFuzzer) goes on from the good files of test_any_file.py. What it finds is printed with its bytes; the file
then stands as an example in that test. It installs apart: `make fuzz` does so.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

from constitution import BadInput

OURS = ["constitution", "prompts", "engine", "evaluation", "charter"]

with atheris.instrument_imports(include=OURS) if "--place" in sys.argv else nullcontext():
    from tests.charter.test_any_file import READERS_OF_FILES, Reader, written


def chosen(name: str) -> list[tuple[int, Reader]]:
    """The readers of a kind of file, with their places; all of them where no kind is named."""
    return [(place, reader) for place, reader in enumerate(READERS_OF_FILES) if name in ("", reader.name)]


def fuzz(reader: Reader, seconds: int) -> None:
    """Tries bytes for so long. Does not return: libFuzzer ends the process, with another status where it found one."""

    def one(content: bytes) -> None:
        with written(reader.name, content) as path, suppress(BadInput):
            reader.read(path)

    with TemporaryDirectory() as corpus:
        for number, value in enumerate(reader.values):
            (Path(corpus) / str(number)).write_bytes(reader.write(value))
        limits = [f"-max_total_time={seconds}", "-timeout=60", "-max_len=4096", "-rss_limit_mb=4096"]
        told = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={corpus}/"]
        atheris.Setup([sys.argv[0], *limits, *told, corpus], one)
        atheris.Fuzz()


def main() -> int:
    """Every kind of file in a process of its own. Returns how many gave another error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("name", nargs="?", default="", help="a kind of file, as law.yaml; all of them without it")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--place", type=int, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.place is not None:
        fuzz(READERS_OF_FILES[flags.place], flags.seconds)
    failed = 0
    for place, reader in chosen(flags.name):
        command = [sys.executable, "-m", "tests.charter.fuzz_any_file", "--place", str(place)]
        ran = subprocess.run(
            [*command, "--seconds", str(flags.seconds)], capture_output=True, text=True, errors="replace", check=False
        )
        tried = re.search(r"number_of_executed_units: (\d+)", ran.stderr)
        found = ran.returncode != 0 or tried is None
        told = ran.stderr[-4000:] if found or tried is None else f"{int(tried[1]):,} files tried, nothing found"
        print(f"{reader.name}: {told}", flush=True)
        failed += found
    return failed


if __name__ == "__main__":
    sys.exit(main())
