"""How long a small run takes before it works, part by part, and whether that is within its budget.

    python benchmarks/start_up.py [--backend scripted] [--model hash] [--repeats 3]

A run of 16 prompts, each time in a process of its own. Columns: the median of seconds on the clock with the least and
the most, processor seconds of this process (which other jobs on the machine move less), and the budget on two idle
cores. Parts: `imports` from the start of Python; `Ray` until it is up; `first row` from there until the first rows are
on disk, with the start of a worker and of its engine; `other rows` with sealing; `end` of Ray.

With `--backend transformers --model sandbox/model`, or vllm, the first row waits for a real engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

BUDGET = {"imports": 2.5, "Ray": 5.0, "first row": 5.0, "other rows": 1.0, "end": 2.0}
"""Seconds."""
PROMPTS = 16


def run_once(backend: str, model: str, place: Path) -> dict[str, tuple[float, float]]:
    """Seconds on the clock and of the processor for each part of a run in this process."""
    import psutil

    from charter.run import prompts_store
    from engine.backends.spec import ModelSpec
    from engine.cluster import cluster
    from engine.progress import EventLog, Reporter
    from engine.settings import ReviseSettings
    from engine.stages import run_stage
    from engine.storage import Folder, write_sealed

    def now() -> tuple[float, float]:
        return time.time(), time.process_time()

    marks = {"start": (psutil.Process().create_time(), 0.0), "imports": now()}
    from row_cost import plan_of, prompt  # what a run does not import comes after

    from engine.plan import ROLES

    spec = ModelSpec.model_validate({"backend": backend, "model": model})
    folder = Folder(str(place / "run"))
    settings = ReviseSettings(rounds=0)
    plan = plan_of(folder, "02_revise", settings, dict.fromkeys(ROLES[type(settings)], spec))
    write_sealed(prompts_store(folder), [[prompt(number) for number in range(PROMPTS)]])
    began = now()

    def first_row() -> None:
        while not (plan.store.folder.names("_unsealed/rows", ".parquet") or plan.store.is_sealed):
            time.sleep(0.01)
        marks["first row"] = now()

    looking = threading.Thread(target=first_row, daemon=True)
    with cluster("local", 0.5, [spec]):
        marks["Ray"] = now()
        looking.start()
        run_stage(plan, prompts_store(folder), Reporter(EventLog(folder)).watcher("02_revise"))
        looking.join()
        marks["other rows"] = now()
    marks["end"] = now()
    before = {"imports": "start", "first row": "Ray", "other rows": "first row", "end": "other rows"}
    since = {"Ray": began} | {part: marks[earlier] for part, earlier in before.items()}
    return {part: (marks[part][0] - since[part][0], marks[part][1] - since[part][1]) for part in BUDGET}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="scripted", choices=["scripted", "transformers", "vllm"])
    parser.add_argument("--model", default="hash")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.once:
        found = run_once(told.backend, told.model, told.once)
        (told.once / "found.json").write_text(json.dumps(found), encoding="utf-8")
        return
    runs: list[dict[str, tuple[float, float]]] = []
    for _ in range(told.repeats):
        with tempfile.TemporaryDirectory() as place:
            again = ["--backend", told.backend, "--model", told.model, "--once", place]
            subprocess.run([sys.executable, __file__, *again], check=True)
            runs.append(json.loads((Path(place) / "found.json").read_text(encoding="utf-8")))
    print(f"{'part':<12}{'seconds':>9}{'least':>8}{'most':>8}{'processor':>11}{'budget':>8}")
    for part, budget in BUDGET.items():
        clock = sorted(run[part][0] for run in runs)
        busy = statistics.median(run[part][1] for run in runs)
        print(f"{part:<12}{statistics.median(clock):>9.2f}{clock[0]:>8.2f}{clock[-1]:>8.2f}{busy:>11.2f}{budget:>8.1f}")
    whole = [sum(run[part][0] for part in BUDGET) for run in runs]
    busy = statistics.median(sum(run[part][1] for part in BUDGET) for run in runs)
    print(
        f"{'all':<12}{statistics.median(whole):>9.2f}{min(whole):>8.2f}{max(whole):>8.2f}{busy:>11.2f}"
        f"{sum(BUDGET.values()):>8.1f}"
    )


if __name__ == "__main__":
    main()
