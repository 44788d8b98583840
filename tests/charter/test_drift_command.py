"""`charter drift` over files, over a column, and over the rounds of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

from engine.records import Call, Response, RevisedRow, Revision
from engine.storage import Folder, StageStore
from prompts.messages import Message
from tests.charter.command_line import charter
from trainers.watched import Observation, Sample, write_observations, write_samples


def answers(path: Path, ending: str, policy: str = "") -> Path:
    rows = [{"prompt": f"About {n}?", "completion": f"Fact {n} holds. {ending}", "policy": policy} for n in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_files_are_held_against_each_other(tmp_path: Path) -> None:
    first = answers(tmp_path / "before.jsonl", "")
    second = answers(tmp_path / "after.jsonl", "I'm here to listen.")
    output = tmp_path / "report"
    called = charter("drift", first, second, "--output", output)
    assert called.status == 0, called.errors
    assert "More than in before: i'm here to listen (0.000 to 1.000)" in called.output
    figures = json.loads((output / "drift.json").read_text())
    stock = figures["sets"]["after"]["stock_share"]
    assert (stock["value"], stock["high"], stock["n"]) == (1, 1, 8)
    assert 0.6 < stock["low"] < 0.7, "eight of eight are no certainty"
    assert (output / "drift.md").exists()


def test_a_column_tells_policies_apart(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{n}?", "completion": f"{policy} says {n}", "policy": policy}
        for policy in ("base", "final")
        for n in range(4)
    ]
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    called = charter("drift", path, "--by", "policy", "--output", tmp_path / "report")
    assert called.status == 0
    assert list(json.loads((tmp_path / "report" / "drift.json").read_text())["sets"]) == ["base", "final"]
    assert charter("drift", path, "--by", "polcy").status == 2


def test_a_watched_training_gives_its_steps_and_what_it_was_rewarded_for(tmp_path: Path) -> None:
    training = tmp_path / "rl"
    training.mkdir()
    (training / "manifest.json").write_text('{"kind": "rl"}')
    for step, ending in ((0, ""), (20, "I'm here to listen.")):
        said = [Sample(f"i{n}", f"About {n}?", f"Fact {n} holds. {ending}", 5, 0.5, 0.1) for n in range(8)]
        write_samples(training, step, said)
    alarm = "the phrase | is everywhere"
    first = Observation(0, 8, 0.1, 0.2, None, 3.0, 0.9, "", 0.0)
    last = Observation(20, 8, math.nan, 0.1, 0.5, 8.0, 0.4, "i'm here to listen", 1.0, (alarm,))
    write_observations(training, [first, last])
    called = charter("drift", training, "--output", tmp_path / "report")
    assert called.status == 0, called.errors
    found = json.loads((tmp_path / "report" / "drift.json").read_text())
    assert list(found["sets"]) == ["step 0", "step 20"]
    assert found["sets"]["step 20"]["stock_share"]["value"] == 1
    assert [seen["reward"] for seen in found["trainings"]["rl"]] == [0.1, None]
    assert "| 20 | – | 0.100 | 0.500 | 8 | 0.400 | 1.000 i'm here to listen |" in called.output

    loop = tmp_path / "loop.json"
    loop.write_text(json.dumps({"name": "x", "steps": [{"name": "final", "kind": "rl", "folder": "rl", "uses": []}]}))
    called = charter("drift", tmp_path, "--output", tmp_path / "of-loop")
    assert called.status == 0, called.errors
    assert list(json.loads((tmp_path / "of-loop" / "drift.json").read_text())["trainings"]) == ["final"]
    assert "final, step 20" in called.output


def test_a_run_gives_its_rounds(tmp_path: Path) -> None:
    call = Call("respond", "", "m", "r", 0, 1.0, 1.0, 9, 1, 0, 1, "stop")
    rows = [
        RevisedRow(
            item_id=str(n),
            index=n,
            messages=(Message(role="user", content=f"How do I do {n}?"),),
            source="",
            category="",
            vector="",
            extra="",
            constitution_hash="",
            response=Response(0, f"Badly, {n} times.", call),
            critiques=(),
            revisions=tuple(Revision(number, "p", "h", f"Well {n}.", True, call) for number in (1, 2)),
            final=f"Well {n}.",
            flags=(),
        )
        for n in range(2)
    ]
    run = Folder(str(tmp_path / "run"))
    StageStore(run, "02_revise", RevisedRow).write_part("ab12", 0, rows, [])
    run.write("recipe.yaml", b"name: x\n")
    called = charter("drift", tmp_path / "run", "--output", tmp_path / "report")
    assert called.status == 0, called.errors
    sets = json.loads((tmp_path / "report" / "drift.json").read_text())["sets"]
    assert list(sets) == ["first answer", "round 1", "round 2"]
    assert {found["answers"] for found in sets.values()} == {2}
    assert sets["first answer"]["words"]["value"] == 3
