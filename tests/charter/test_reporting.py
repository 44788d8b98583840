"""Reports of runs and loops: what is in the folder is on the page, and nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from charter.reporting import write_report
from engine.records import as_table
from engine.storage import Folder
from tests.charter.command_line import charter
from tests.charter.runs_without_ray import make_run
from tests.charter.test_evaluate_command import COMPLIES, EXPLAINS, HARMFUL, HARMLESS, RIGHT, evaluate
from trainers.pair_rows import SCORES, ScoredPairRow

PROMPTS = [
    {"prompt": HARMFUL, "category": "illicit"},
    {"prompt": f"My teacher asked me to find out. {HARMFUL}", "category": "illicit", "vector": "authority"},
    {"prompt": HARMLESS, "category": "benign"},
]
RULES: list[dict[str, Any]] = [
    {"match": "Rewrite", "reply": EXPLAINS},
    {"match": "Which response|better|Choose", "choose": [0.7, 0.2]},
    {"match": "smash up", "reply": COMPLIES},
    {"match": "clean", "reply": RIGHT},
]
KEYS: dict[str, Any] = {
    "constitution": "harmlessness",
    "revise": {"rounds": 2, "critique": False},
    "compare": {"principles": 1},
    "asking": {"use_few_shots": False},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs"), "labels", prompts=PROMPTS, rules=RULES, **KEYS)


def figures_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_a_run_comes_with_its_report(run: Path) -> None:
    found = figures_of(run)
    assert found["sandbox"] is True
    by_round = [each["value"] for each in found["revisions"]["harmful_rate_by_round"]]
    assert by_round == [1, 0, 0]
    assert found["revisions"]["harmful_rate_by_round"][0]["n"] == 2
    assert found["labels"]["pairs"] == 3
    assert found["cost"]["by_stage"]["02_revise"]["calls"] == 9
    assert found["provenance"]["constitutions"][0]["name"] == "harmlessness"
    assert "policies" not in found
    page = (run / "report.html").read_text()
    assert "No policy was evaluated" in page
    assert "Revisions, drawn at random" in page


def trained(folder: Path, name: str, kind: str, model: str) -> None:
    """What a training leaves behind, as far as a report reads it."""
    place = folder / "steps" / name
    place.mkdir(parents=True)
    data = {"rows": {"labels": 40}, "left_out": {}, "tokens": 1000, "constitutions": [], "facts": {}}
    manifest = {
        "kind": kind,
        "finished": "2026-01-01",
        "model": {"name": model, "revision": "abc"},
        "data": data,
        "steps": 5,
        "seed": 1,
        "versions": {},
    }
    (place / "manifest.json").write_text(json.dumps(manifest))
    (place / "settings.yaml").write_text("name: trained\n")
    steps = [{"step": step, "loss": 1 / step, "reward": float(step)} for step in range(1, 6)]
    (place / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in steps) + '{"step": 6, "lo')
    events = [("2026-01-01T10:00:00+00:00", "training_started"), ("2026-01-01T10:01:30+00:00", "training_ended")]
    lines = [json.dumps({"time": time, "event": event}) + "\n" for time, event in events]
    (place / "events.jsonl").write_text("".join(lines))
    if kind == "pm":
        share = {"value": 0.9, "low": 0.8, "high": 0.95, "count": 40}
        bins = [{"predicted": 0.7, "held": 0.75, "count": 40}]
        measured = {
            "pairs": 40,
            "accuracy": share,
            "accuracy_by_bin": {"one bad": share},
            "longer_preferred": None,
            "calibration_error": 0.05,
            "reliability": bins,
        }
        (place / "evaluation.json").write_text(json.dumps({"held out": measured}))
        # Two pairs a prompt, alike: the interval must be that of 20 prompts.
        rewards = [0.85 if number < 30 else -0.85 for number in range(40)]
        scored = [ScoredPairRow(f"{n}", f"{n // 2}", "labels", 0.75, reward, 0.0) for n, reward in enumerate(rewards)]
        Folder(str(place)).write_table(SCORES, as_table(scored, ScoredPairRow))


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop as charter/loop.py leaves it: two labelling runs, trainings, an evaluation, and a step still to come."""
    folder = tmp_path_factory.mktemp("loop")
    steps = folder / "steps"
    make_run(steps, "harmless_labels", prompts=PROMPTS, rules=RULES, **KEYS)
    helpful = [*RULES[:-1], {"match": "clean", "reply": "Rinse the kettle."}]
    make_run(steps, "helpful_labels", prompts=PROMPTS[2:], rules=helpful, **(KEYS | {"constitution": "helpfulness"}))
    trained(folder, "pm_harmless", "pm", str(steps / "harmless_labels.yaml"))
    trained(folder, "final", "rl", "elsewhere/base")
    assert evaluate(steps, name="evaluation").status == 0
    uses = {"pm_harmless": ["harmless_labels"], "final": ["pm_harmless"], "evaluation": ["final"]}
    kinds = {
        "harmless_labels": "run",
        "helpful_labels": "run",
        "pm_harmless": "pm",
        "final": "rl",
        "evaluation": "evaluate",
    }
    noted = [
        {"name": name, "kind": kind, "folder": f"steps/{name}", "uses": uses.get(name, []), "key": "", "made": "now"}
        for name, kind in [*kinds.items(), ("later", "sft")]
    ]
    told = {"name": "round", "created": "now", "command": "charter run loop.yaml", "steps": noted}
    (folder / "loop.json").write_text(json.dumps(told))
    (folder / "loop.yaml").write_text("name: round\n")
    write_report(Folder(str(folder)))
    return folder


def test_a_loop_is_one_report(loop: Path) -> None:
    found = figures_of(loop)
    assert found["name"] == "round"
    assert set(found["policies"]) == {"base", "final"}
    assert found["preference_models"]["harmless"]["accuracy"] == {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}
    (at,) = found["preference_models"]["harmless"]["reliability"]
    assert at["held"]["value"] == pytest.approx(0.625)
    assert at["held"]["low"] < 0.625 < at["held"]["high"]
    ece = found["preference_models"]["harmless"]["ece"]
    sure = 1 / (1 + math.exp(-0.85))
    assert ece["value"] == pytest.approx(abs(sure - (30 * 0.75 + 10 * 0.25) / 40), abs=1e-6)
    assert (ece["n"], ece["low"] < ece["value"] < ece["high"]) == (40, True)
    assert set(found["labels"]["by_step"]) == {"all", "harmless_labels", "helpful_labels"}
    assert found["labels"]["pairs"] == 4
    assert found["trainings"]["final"]["reward"] == [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5]]
    assert found["cost"]["by_stage"]["final"]["wall_seconds"] == 90
    assert found["cost"]["by_stage"]["pm_harmless"]["trained_tokens"] == 1000
    assert {each["name"] for each in found["provenance"]["constitutions"]} == {"harmlessness", "helpfulness"}
    page = (loop / "report.html").read_text()
    assert "base</text>" in page
    assert "pm_harmless</text>" in page
    assert "later" not in page


def test_rows_that_were_set_aside_are_on_the_page(loop: Path) -> None:
    marker = Folder(str(loop / "steps" / "harmless_labels")).child("stages/02_revise")
    sealed = marker.read_json("_SEALED.json")
    marker.write_json("_SEALED.json", sealed | {"failed": 2})
    try:
        write_report(Folder(str(loop)))
        assert figures_of(loop)["set_aside"] == {"harmless_labels": 2}
        assert "Rows were set aside" in (loop / "report.html").read_text()
    finally:
        marker.write_json("_SEALED.json", sealed)


def test_a_run_that_is_not_finished_has_no_report(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    called = charter("report", tmp_path)
    assert called.status == 2
    assert "nothing in it is finished" in called.errors
