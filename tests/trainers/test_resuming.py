"""Trainings that are killed and resumed learn what those learn that were left alone: pm, dpo and rl.

That of sft is in test_launch.py. Checkpoints are written every other step, and the kill comes after an odd one, so that
a step is done again; all trainings pass over their rows more than once, since the order of a pass must be found again.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.charter.command_line import charter
from tests.trainers.models_for_tests import make_scorer
from tests.trainers.pairs_for_tests import write_pairs_file
from tests.trainers.rows_for_training import THEIR_WARNINGS

ROOT = Path(__file__).parents[2]
pytestmark = THEIR_WARNINGS

STEPS = 8
KILLED_AFTER = 5
COMMAND = f"""
import os, signal
from trainers import fitting

class Killed(fitting._Marker):
    def on_step_end(self, args, state, control, **_):
        if state.global_step == {KILLED_AFTER}:
            os.kill(os.getpid(), signal.SIGKILL)

fitting._Marker = Killed
from charter.__main__ import main
main()
"""


def preference_model(model: Path, folder: Path) -> dict[str, Any]:
    data = write_pairs_file(folder / "pairs.jsonl", 24)
    return {"model": str(model), "data": [{"path": str(data)}], "held_out": 0.2, "max_length": 128}


def direct_preference(model: Path, folder: Path) -> dict[str, Any]:
    return preference_model(model, folder) | {"beta": 0.5, "lora": {"rank": 4, "dropout": 0.2}}


def policy(model: Path, folder: Path) -> dict[str, Any]:
    """Its completions are drawn at random, and 20 prompts are five steps."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"question {n}"}) + "\n" for n in range(24)))
    for seed, name in enumerate(("reward", "judge")):
        make_scorer(model, folder / name, seed)
    return {
        "model": str(model),
        "prompts": {"all": {"sources": [{"path": str(prompts)}]}},
        "reward": {"models": {"main": {"model": str(folder / "reward")}}},
        "completions": 2,
        "sampling": {"max_tokens": 8},
        "max_length": 128,
        "watch": {"judge": {"model": str(folder / "judge")}, "prompts": 4, "every": 2, "on_alarm": "tell"},
    }


def measured(run: Path) -> list[dict[str, Any]]:
    """What `metrics.jsonl` holds, but for times, and for tokens, which are counted from the start of the process."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    of_this_process = ("time", "per_second", "flos", "num_tokens")
    return [{name: value for name, value in line.items() if not name.endswith(of_this_process)} for line in lines]


@pytest.mark.parametrize(("kind", "made"), [("pm", preference_model), ("dpo", direct_preference), ("rl", policy)])
def test_a_killed_training_resumes_to_the_same_metrics(kind: str, made: Any, tiny_model: Path, tmp_path: Path) -> None:
    how = {"learning_rate": 3e-3, "batch_size": 8, "micro_batch_size": 4, "max_steps": STEPS}
    given = made(tiny_model, tmp_path) | {"optimization": how, "checkpoints": {"every": 2}}
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for run in (calm, killed):
        run.with_suffix(".json").write_text(json.dumps(given | {"name": "tried", "output": str(run)}))
    undisturbed = charter("train", kind, calm.with_suffix(".json"))
    assert undisturbed.status == 0, undisturbed.errors
    words = [sys.executable, "-c", COMMAND, "train", kind, str(killed.with_suffix(".json"))]
    process = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not (killed / "model").exists()
    resumed = charter("train", kind, killed.with_suffix(".json"), "--resume")
    assert resumed.status == 0, resumed.errors
    assert [line["step"] for line in measured(killed) if "loss" in line] == list(range(1, STEPS + 1))
    assert measured(killed)[:-1] == measured(calm)[:-1]  # the last line sums up the time since the start
    weights = (run / "model" / "model.safetensors" for run in (calm, killed))
    assert len({file.read_bytes() for file in weights}) == 1
    looked = "watch.jsonl" if kind == "rl" else "evaluation.json"
    assert (killed / looked).read_text() == (calm / looked).read_text()
