"""`charter map`: where the page goes, what it says, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.charter.command_line import charter
from tests.evaluation.map.pairs_for_tests import SUBJECTS

TRANSCRIPT = "\n\nHuman: Tell me of the {}.\n\nAssistant: {}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Thirty pairs as hh-rlhf writes them, one of them without an answer."""
    rows = [
        {side: TRANSCRIPT.format(word, f"{side} {number} {words}") for side in ("chosen", "rejected")}
        for word, words in SUBJECTS.items()
        for number in range(10)
    ]
    rows[7]["rejected"] = TRANSCRIPT.format("bicycles", "")
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def data_of(page: Path) -> Any:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(encoding="utf-8"))
    return json.loads(data)


def test_a_foreign_file_becomes_a_page_here(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    called = charter("map", file)
    assert called.status == 0, called.errors
    assert "wrote theirs.map.html" in called.output
    data = data_of(tmp_path / "theirs.map.html")
    assert data["title"] == "theirs.jsonl"
    assert len(data["pairs"]["id"]) == 30
    assert data["pairs"]["flags"][7][0][0] == "empty"


def test_a_sample_holds_the_flagged_pairs_and_says_so(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "map.html"
    called = charter("map", file, "--pairs", 3, "--output", page)
    assert called.status == 0, called.errors
    data = data_of(page)
    flagged = sum(bool(flags) for flags in data["pairs"]["flags"])
    assert len(data["pairs"]["id"]) == max(3, flagged)
    assert data["counts"].startswith(f"{max(3, flagged)} of 30 pairs: all {flagged} flagged ones")
    assert data["counts"] in called.errors


def test_only_a_map_is_written_over(file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>my thesis</html>")
    called = charter("map", file, "--output", page)
    assert called.status == 2
    assert "something else than a map is there already" in called.errors
    assert page.read_text() == "<html>my thesis</html>"
    page.unlink()
    assert charter("map", file, "--output", page).status == 0
    assert charter("map", file, "--output", page, "--seed", 1).status == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["missing.jsonl"], "missing.jsonl"),
        (["FILE", "--model", "./no-such-folder"], "no such folder"),
        (["FILE", "--output", "."], "something else than a map"),
    ],
)
def test_bad_input_is_said_before_anything_is_made(
    arguments: list[str], fault: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called = charter("map", *(str(file) if word == "FILE" else word for word in arguments))
    assert called.status == 2
    assert fault in called.errors
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.jsonl"]
