"""The same training in one process, on two Ray workers, and killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.storage import Folder
from tests.charter.command_line import charter
from tests.trainers.models_for_tests import make_scorer
from tests.trainers.rows_for_training import THEIR_WARNINGS, losses, metrics, settings, write_rows
from trainers import fine_tuning, reinforcement
from trainers.fitting import NotFinite, Outcome, micro_batches
from trainers.launch import FROM_WORKER, _worker, launch
from trainers.reinforcement import ReinforcementSettings

ROOT = Path(__file__).parents[2]
pytestmark = THEIR_WARNINGS


def test_a_batch_is_split_exactly() -> None:
    assert micro_batches(32, 4, 1) == (4, 8)
    assert micro_batches(32, 4, 2) == (4, 4)
    assert micro_batches(30, 4, 2) == (3, 5)
    assert micro_batches(2, 8, 2) == (1, 1)
    with pytest.raises(ValueError, match="3 workers"):
        micro_batches(32, 4, 3)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray on this machine, for all launches of the module."""
    from engine.cluster import cluster

    with cluster("local", 0.2, []):
        yield


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("packing", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["rows", "packed"])
def test_two_ray_workers_learn_what_one_process_learns(packing: bool, tiny_model: Path, tmp_path: Path) -> None:
    """In two passes whose last batches leave the second worker a micro-batch without a row."""
    from safetensors.torch import load_file

    how = {"learning_rate": 1e-3, "batch_size": 8, "micro_batch_size": 2, "epochs": 2}
    rows = write_rows(tmp_path / "rows.jsonl", 65 if packing else 21)  # 65 fill 13 blocks
    told = settings(tiny_model, demonstrations=rows, packing=packing, optimization=how)
    for name, workers in (("one", 1), ("two", 2)):
        folder = tmp_path / name
        fine_tuning.prepare(told, Folder(str(folder)), print)
        where = told.launch.model_copy(update={"workers": workers, "cpus": 0.5})
        steps = launch("trainers.fine_tuning", told.model_copy(update={"launch": where}), folder).steps
        assert steps == (4 if packing else 6)
    expected, found = (metrics(tmp_path / name) for name in ("one", "two"))
    for name in ("loss", "grad_norm", "num_tokens"):
        assert [step[name] for step in found] == pytest.approx([step[name] for step in expected], rel=1e-5), name
    assert all(None not in step.values() for step in found), "no measure is a number of nothing"
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert all(one[name].allclose(two[name], atol=1e-5) for name in one)


def test_a_worker_reads_relative_paths_as_the_command_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Train has moved it into another folder."""
    given = tmp_path / "given"
    given.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fine_tuning, "train", lambda settings, folder: Outcome(str(Path.cwd()), 1))
    monkeypatch.setattr("engine.hosting.keep_log", lambda *named: None)
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_rank=lambda: 0))
    told = {"module": "trainers.fine_tuning", "settings": None, "folder": str(tmp_path), "started_in": str(given)}
    _worker(told)
    assert json.loads((tmp_path / FROM_WORKER).read_text())["model"] == str(given)


@pytest.mark.usefixtures("ray_here")
def test_two_ray_workers_reward_and_watch_one_policy(tiny_model: Path, tmp_path: Path) -> None:
    """Each worker draws completions of its own; what is seen and decided is of both."""
    rows = [{"prompt": f"question {n}"} for n in range(20)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed, name in enumerate(("reward", "judge")):
        make_scorer(tiny_model, tmp_path / name, seed)
    told = ReinforcementSettings.model_validate(
        {
            "name": "tried",
            "model": str(tiny_model),
            "prompts": {"all": {"sources": [{"path": str(tmp_path / "prompts.jsonl")}]}},
            "reward": {"models": {"main": {"model": str(tmp_path / "reward")}}},
            "completions": 4,
            "sampling": {"max_tokens": 8},
            "max_length": 128,
            "watch": {"judge": {"model": str(tmp_path / "judge")}, "prompts": 6, "every": 2, "on_alarm": "tell"},
            "optimization": {"learning_rate": 3e-3, "batch_size": 8, "micro_batch_size": 4, "max_steps": 4},
            "launch": {"workers": 2, "cpus": 0.5},
        }
    )
    run = tmp_path / "run"
    reinforcement.prepare(told, Folder(str(run)), print)
    outcome = launch("trainers.reinforcement", told, run)
    assert outcome.steps == 4
    assert list(losses(run)) == [1, 2, 3, 4]
    looks = [json.loads(line) for line in (run / "watch.jsonl").read_text().splitlines()]
    assert [(look["step"], look["prompts"]) for look in looks] == [(0, 6), (2, 6), (4, 6)]
    best = max(look["judge"] for look in looks[1:])
    assert outcome.figures["judge of the kept checkpoint"] == pytest.approx(best, abs=1e-4)
    assert (run / "model" / "model.safetensors").exists()


@pytest.mark.usefixtures("ray_here")
def test_a_hopeless_training_is_not_started_again(tiny_model: Path, tmp_path: Path) -> None:
    told = settings(
        tiny_model,
        demonstrations=write_rows(tmp_path / "rows.jsonl", 24),
        optimization={"batch_size": 4, "learning_rate": 1e30, "max_grad_norm": 1e30},
        launch={"workers": 2, "cpus": 0.5, "restarts": 5},
    )
    fine_tuning.prepare(told, Folder(str(tmp_path)), print)
    with pytest.raises(NotFinite, match="at step"):
        launch("trainers.fine_tuning", told, tmp_path)
    assert not (tmp_path / "outcome.json").exists()
    logs = list((tmp_path / "logs" / "training").glob("worker-*.log"))
    assert len(logs) == 2, "one log a worker: none was started again"


# Where the tests run in the background, Ctrl-C is switched off for every child: it is switched on again.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from charter.__main__ import main
main()
"""


def start(settings_file: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", COMMAND, "train", "sft", str(settings_file)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def test_a_killed_training_resumes_to_the_same_losses(tiny_model: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"learning_rate": 1e-3, "batch_size": 4, "epochs": 40}
    rows = write_rows(tmp_path / "rows.jsonl", 24)
    for name in ("calm", "killed"):
        told = settings(
            tiny_model,
            demonstrations=rows,
            output=str(tmp_path / name),
            optimization=how,
            checkpoints={"every": 20},
            lora={"dropout": 0.1},
        )
        (tmp_path / f"{name}.yaml").write_text(told.model_dump_json())
    assert charter("train", "sft", tmp_path / "calm.yaml").status == 0
    process = start(tmp_path / "killed.yaml")
    deadline = time.monotonic() + 200
    while not list((tmp_path / "killed").glob("checkpoints/checkpoint-*/COMPLETE")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "model").exists()
    refused = charter("train", "sft", tmp_path / "killed.yaml")
    assert (refused.status, "--resume" in refused.errors) == (2, True)
    resumed = charter("train", "sft", tmp_path / "killed.yaml", "--resume")
    assert resumed.status == 0, resumed.errors
    assert losses(tmp_path / "killed") == losses(tmp_path / "calm")
    manifest = json.loads((tmp_path / "killed" / "manifest.json").read_text())
    card = (tmp_path / "killed" / "README.md").read_text()
    assert manifest["data"]["data_hash"] in card
    assert (tmp_path / "killed" / "adapter" / "adapter_config.json").exists()


def test_ctrl_c_leaves_a_checkpoint_of_the_last_step(tiny_model: Path, tmp_path: Path) -> None:
    told = settings(
        tiny_model,
        demonstrations=write_rows(tmp_path / "rows.jsonl", 24),
        output=str(tmp_path / "run"),
        optimization={"batch_size": 4, "epochs": 400},
        checkpoints={"every": 5000},
    )
    (tmp_path / "run.yaml").write_text(told.model_dump_json())
    process = start(tmp_path / "run.yaml")
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not losses(tmp_path / "run"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert "--resume" in said
    (checkpoint,) = (tmp_path / "run").glob("checkpoints/checkpoint-*/COMPLETE")
    assert int(checkpoint.parent.name.rpartition("-")[2]) == max(losses(tmp_path / "run"))
