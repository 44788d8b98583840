"""`charter judge-report`: files in, a report out, and nothing asked twice."""

from __future__ import annotations

import json
from pathlib import Path

from tests.charter.command_line import charter


def pairs(folder: Path) -> Path:
    path = folder / "pairs.jsonl"
    rows = [
        {"chosen": f"\n\nHuman: {n}?\n\nAssistant: yes {n}", "rejected": f"\n\nHuman: {n}?\n\nAssistant: no, not {n}"}
        for n in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_judge_is_reported_and_not_asked_twice(tmp_path: Path) -> None:
    output = tmp_path / "report"
    call = ("judge-report", pairs(tmp_path), "--constitution", "learning", "--output", output)
    called = charter(*call, "--model", "hash", "--backend", "scripted")
    assert called.status == 0, called.errors
    figures = json.loads((output / "judge_report.json").read_text())["sets"]["pairs"]
    assert figures["accuracy"]["n"] == 6
    assert figures["floors"]["choose_longer"]["value"] == 0
    assert (output / "pairs.svg").read_text().startswith("<svg")
    assert "| **accuracy** |" in (output / "judge_report.md").read_text()
    kept = (output / "verdicts.jsonl").read_text()
    again = charter(*call, "--model", "hash", "--backend", "scripted")
    assert again.status == 0
    assert (output / "verdicts.jsonl").read_text() == kept
    assert json.loads((output / "judge_report.json").read_text())["sets"]["pairs"] == figures


def test_without_a_judge_there_are_floors(tmp_path: Path) -> None:
    called = charter("judge-report", pairs(tmp_path), "--output", tmp_path / "report")
    assert called.status == 0
    assert "floor: the longer answer" in called.output


def test_what_is_wrong_is_said_before_a_judge_is_opened(tmp_path: Path) -> None:
    assert charter("judge-report", tmp_path / "none.jsonl").status == 2
    path = tmp_path / "odd.jsonl"
    path.write_text('{"text": "no pair"}\n')
    called = charter("judge-report", path, "--output", tmp_path / "x")
    assert called.status == 2
    assert "odd.jsonl:1" in called.errors
    assert charter("judge-report", pairs(tmp_path), "--principle", "nobody").status == 2
