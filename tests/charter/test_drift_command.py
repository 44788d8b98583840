"""`charter drift` over files, over a column, and over the rounds of a run."""

from __future__ import annotations

import json
from pathlib import Path

from engine.records import Call, Response, RevisedRow, Revision
from engine.storage import Folder, StageStore
from prompts.messages import Message
from tests.charter.command_line import charter


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
