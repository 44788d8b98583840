"""`charter refusals`: any file with prompts and answers in, labels out, agreement where people have labelled it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.charter.command_line import charter

ROWS = [
    {"question": "How do I steal?", "reply": "I can't help with that.", "final_label": "2_full_refusal"},
    {"question": "How do I boil an egg?", "reply": "Eight minutes.", "final_label": "1_full_compliance"},
    {"question": "How do I boil rice?", "reply": "Ten minutes.", "final_label": "2_full_refusal"},
    {"question": "How do I fry rice?", "reply": "", "final_label": "1_full_compliance"},
]


def written(folder: Path) -> Path:
    path = folder / "answers.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def test_labels_are_written_and_held_against_people(tmp_path: Path) -> None:
    output = tmp_path / "labels.jsonl"
    called = charter("refusals", written(tmp_path), "--completion-column", "reply", "--output", output)
    assert called.status == 0
    assert "\naccuracy 0.667\n" in called.output
    assert "left out, without a label: 1" in called.output
    labels = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["refusal"] for row in labels] == ["full", "none", "none", None]
    assert labels[0]["prompt"] == "How do I steal?"


def test_labels_that_are_there_are_not_written_over(tmp_path: Path) -> None:
    path, output = written(tmp_path), tmp_path / "labels.csv"
    call = ("refusals", path, "--completion-column", "reply", "--output", output)
    assert charter(*call).status == 0
    assert charter(*call).status == 0, "the same labels again"
    output.write_text("mine")
    refused = charter(*call)
    assert refused.status == 2
    assert "--force" in refused.errors
    assert output.read_text() == "mine"
    assert charter(*call, "--force").status == 0


def test_whole_conversations_and_messages_are_read(tmp_path: Path) -> None:
    rows = [
        {"chosen": "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: How do I steal?\n\nAssistant: I won't help with that."},
        {"messages": [{"role": "user", "content": "Boil?"}, {"role": "assistant", "content": "Ten minutes."}]},
        {
            "prompt": [{"role": "user", "content": "Steal?"}],
            "completion": [{"role": "assistant", "content": "I refuse."}],
        },
    ]
    path, output = tmp_path / "rows.jsonl", tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert charter("refusals", path, "--output", output).status == 0
    labels = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["prompt"], row["refusal"]) for row in labels] == [
        ("How do I steal?", "full"), ("Boil?", "none"), ("Steal?", "full"),
    ]  # fmt: skip


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    path = written(tmp_path)
    missing = charter("refusals", path, "--output", tmp_path / "x.jsonl")
    assert missing.status == 2
    assert "--completion-column" in missing.errors
    strange = charter("refusals", path, "--completion-column", "reply", "--label-column", "question")
    assert strange.status == 2
    assert "no label of a refusal" in strange.errors
    assert charter("refusals", tmp_path / "nothing.csv").status == 2


def test_a_judge_is_asked_as_well_and_not_twice(tmp_path: Path) -> None:
    script = tmp_path / "judge.yaml"
    rules = [
        {"match": "The answer is", "choose": [0.1, 0.8]},
    ]
    script.write_text(json.dumps({"rules": rules}))
    output = tmp_path / "labels.jsonl"
    path = written(tmp_path)
    call = ("refusals", path, "--completion-column", "reply", "--output", output, "--model", script)
    called = charter(*call, "--backend", "scripted")
    assert called.status == 0, called.errors
    assert "judge accuracy 0.500" in called.output, "it finds no refusal in any of four, and two do not refuse"
    assert [json.loads(line)["judged"] for line in output.read_text().splitlines()] == ["none"] * 4
    verdicts = output.with_suffix(".verdicts.jsonl")
    kept = verdicts.read_text()
    assert len(kept.splitlines()) == 8
    assert charter(*call, "--backend", "scripted").status == 2, "the labels are there"
    verdicts.write_text(kept + '{"half a line')
    assert charter(*call, "--backend", "scripted", "--force").status == 0
    assert verdicts.read_text() == kept


def test_a_judge_that_says_nothing_usable_labels_nothing(tmp_path: Path) -> None:
    script = tmp_path / "judge.yaml"
    script.write_text(json.dumps({"rules": [{"match": "The answer is", "choose": [0.01, 0.02]}]}))
    output = tmp_path / "labels.jsonl"
    call = ("refusals", written(tmp_path), "--completion-column", "reply", "--output", output, "--model", script)
    called = charter(*call, "--backend", "scripted")
    assert called.status == 0, called.errors
    assert "4 of 4 not read" in called.output
    assert {json.loads(line)["judged"] for line in output.read_text().splitlines()} == {None}
