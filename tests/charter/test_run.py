"""Whole runs as a user starts them: separate processes, real Ray, a scripted model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from charter.status import Looker
from tests.charter.hosts_for_tests import Host

ROOT = Path(__file__).parents[2]
COUNT = 40


def write_recipe(folder: Path, name: str, *, latency: float = 0.0, rules: tuple[dict[str, Any], ...] = ()) -> Path:
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"Question {number}: how?"}) for number in range(COUNT)]
    prompts.write_text("\n".join([*lines, lines[3]]) + "\n")
    script = folder / "script.yaml"  # one file for all recipes of a folder: its hash is the model's revision
    script.write_text(yaml.safe_dump({"latency": latency, "rules": list(rules)}))
    recipe = {
        "name": name,
        "output": str(folder / name),
        "prompts": [{"path": str(prompts)}],
        "constitution": "learning",
        "models": {"policy": {"backend": "scripted", "model": str(script), "cpus": 0.1}},
        "revise": {"rounds": 2},
        "compare": {"principles": 2},
        "rows": {"rows_per_batch": 4, "rows_in_flight": 4, "flush_seconds": 0.2},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


# Where the tests run in the background, Ctrl-C is switched off for every child: it is switched on again.
LAUNCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from charter.__main__ import main
main()
"""


def start(*arguments: str | Path, on: Host | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LAUNCH, *map(str, arguments)]
    if on is not None:
        command = on.command(*command)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=250)
    return process.returncode, output + errors


def wait_for_rows(run: Path, stage: str, process: subprocess.Popen[str]) -> None:
    """Until a part of the stage is on disk."""
    deadline = time.monotonic() + 200
    while not list((run / "stages" / stage / "_unsealed" / "rows").rglob("*.parquet")):
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stage_rows(run: Path, stage: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run / "stages" / stage).to_pylist()
    return rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    status, said = finish(start("run", write_recipe(folder, "calm", latency=0.05)))
    assert status == 0, said
    assert "data/preferences" in said
    return folder / "calm"


def test_a_run_leaves_two_data_sets_and_its_whole_provenance(undisturbed: Path) -> None:
    revisions = load_dataset("parquet", data_dir=str(undisturbed / "data" / "revisions"), split="train")
    preferences = load_dataset("parquet", data_dir=str(undisturbed / "data" / "preferences"), split="train")
    assert len(revisions) == COUNT
    assert revisions[0]["prompt"] == [{"role": "user", "content": "Question 0: how?"}]
    assert revisions[0]["completion"][0]["role"] == "assistant"
    assert len(preferences) == COUNT
    assert all(row["chosen"] != row["rejected"] and 0.5 < row["probability"] <= 1 for row in preferences)
    manifest = json.loads((undisturbed / "manifest.json").read_text())
    assert manifest["stages"]["02_revise"] == {"rows": COUNT, "items": COUNT, "failed": 0}
    assert json.loads((undisturbed / "duplicates.json").read_text())["exact"][0]["dropped"][0]["index"] == COUNT
    row = stage_rows(undisturbed, "03_compare")[0]
    assert row["constitution_hash"] == manifest["constitution"]["hash"]
    assert len(row["votes"]) == 4
    assert {vote["calls"][0]["template_hash"] for vote in row["votes"]} == {manifest["templates"]["compare"]}
    card = (undisturbed / "README.md").read_text()
    assert f"| `data/revisions` | {COUNT} | none |" in card
    assert manifest["constitution"]["hash"] in card
    (log,) = (undisturbed / "logs/02_revise").glob("worker-*.log")
    assert "INFO engine.stages: 4 prompts of part-1-00000.parquet" in log.read_text()
    assert (undisturbed / "templates" / "compare.jinja").read_text()
    cost = json.loads((undisturbed / "cost.json").read_text())
    calls = {step["step"]: step["calls"] for step in cost["02_revise"]["steps"]}
    assert calls == {"respond": COUNT, "critique": 2 * COUNT, "revise": 2 * COUNT}


@pytest.mark.parametrize("stage", ["02_revise", "03_compare"])
def test_a_run_killed_and_resumed_equals_an_undisturbed_one(undisturbed: Path, stage: str) -> None:
    folder = undisturbed.parent
    recipe = write_recipe(folder, f"killed-{stage}", latency=0.05)
    run = folder / f"killed-{stage}"
    process = start("run", recipe)
    wait_for_rows(run, stage, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    status, said = finish(start("run", recipe, "--resume"))
    assert status == 0, said
    for name in ("02_revise", "03_compare"):
        assert stage_rows(run, name) == stage_rows(undisturbed, name)


def test_an_interrupted_run_says_how_to_go_on(undisturbed: Path) -> None:
    folder = undisturbed.parent
    recipe = write_recipe(folder, "interrupted", latency=0.05)
    run = folder / "interrupted"
    process = start("run", recipe)
    wait_for_rows(run, "02_revise", process)
    seen = Looker(str(run)).look()
    assert (seen.state, seen.driver and seen.driver.process) == ("running", process.pid)
    assert seen.steps[0].work[0].done > 0
    os.kill(process.pid, signal.SIGINT)
    status, said = finish(process)
    assert status == 130, said
    assert "--resume" in said
    seen = Looker(str(run)).look()
    assert (seen.state, seen.driver, seen.steps[0].work[0].calls > 0) == ("stopped", None, True)
    assert "Traceback" not in said
    assert list((run / "stages" / "02_revise" / "_unsealed").rglob("*.parquet"))


def test_rows_set_aside_show_in_the_exit_status_and_are_listed(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "poisoned", rules=({"match": "Question 7: how", "fail": -1},))
    status, said = finish(start("run", recipe))
    assert status == 3, said
    assert "set aside" in said
    status, listed = finish(start("failures", tmp_path / "poisoned"))
    assert status == 3
    assert "prompts.jsonl:8" in listed
    assert "ModelUnavailable" in listed
    # The model is mended (and its revision is another, which is no part of the recipe): the rows are tried again.
    write_recipe(tmp_path, "poisoned")
    status, said = finish(start("run", recipe, "--resume", "--retry-failed"))
    assert status == 0, said
    assert [row["index"] for row in stage_rows(tmp_path / "poisoned", "02_revise")] == list(range(COUNT))
    status, listed = finish(start("failures", tmp_path / "poisoned"))
    assert (status, "0 rows set aside" in listed) == (0, True)


def test_an_edited_principle_alone_is_asked_again(undisturbed: Path) -> None:
    folder = undisturbed.parent
    recipe = write_recipe(folder, "edited", latency=0.05)
    law = (ROOT / "constitution" / "library" / "learning.yaml").read_text(encoding="utf-8")
    text = yaml.safe_load(law)
    edited = text["principles"][0]
    edited["comparison"] = "Which answer would you rather read?"
    (folder / "law.yaml").write_text(yaml.safe_dump(text))
    changed = ("--set", f"constitution={folder / 'law.yaml'}", "--set", f"compare.reuse={undisturbed}")
    status, said = finish(start("run", recipe, *changed, "--set", "revise=null"))
    assert status == 0, said
    assert "principles still ask what they asked" in said
    votes = [vote for row in stage_rows(folder / "edited", "03_compare") for vote in row["votes"]]
    again = [vote for vote in votes if not vote["calls"][-1]["reused"]]
    assert {vote["principle_id"] for vote in again} == {edited["id"]}
    assert 0 < len(again) < len(votes)
    cost = json.loads((folder / "edited" / "cost.json").read_text())
    steps = {step["step"]: step for step in cost["03_compare"]["steps"]}
    assert (steps["compare"]["calls"], steps["compare"]["reused"]) == (len(again), len(votes) - len(again))
    assert (steps["respond"]["calls"], steps["respond"]["reused"]) == (0, 2 * COUNT)
    assert f"{len(votes) - len(again):,} of {len(votes):,} compare" in said.replace("\n", " ")


def test_a_dry_run_estimates_what_the_run_then_takes(undisturbed: Path) -> None:
    recipe = write_recipe(undisturbed.parent, "dry", latency=0.05)
    status, said = finish(start("run", recipe, "--dry-run", "--set", "models.policy.price.completion=10"))
    assert status == 0, said
    assert not (undisturbed.parent / "dry").exists()
    assert "02_revise" in said
    assert "40 prompts" in said


def test_preview_shows_prompts_and_verdicts_and_writes_nothing(undisturbed: Path) -> None:
    recipe = write_recipe(undisturbed.parent, "seen", latency=0.0)
    status, said = finish(start("preview", recipe, "--rows", "1"))
    assert status == 0, said
    assert "Question 0: how?" in said
    assert "P(a better)" in said
    assert not (undisturbed.parent / "seen").exists()
    assert finish(start("validate", recipe))[0] == 0
