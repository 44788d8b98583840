"""What an export refuses, keeps apart, leaves alone and survives."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from constitution.faults import BadInput
from engine.exporters import turns
from engine.exporters.export import ExportSettings, export, log_odds
from engine.exporters.form import Kind
from engine.storage import Folder
from tests.engine.exporters.made_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return make_run(tmp_path_factory.mktemp("exported") / "run")


def pair(
    prompt: Any = "How do I whistle?", chosen: str = "Purse.", rejected: str = "No.", **more: Any
) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def written(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


USER, ASSISTANT = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (pair(chosen="Same. ", rejected="Same."), "chosen equals rejected"),
        (pair([USER, ASSISTANT]), "the prompt ends with an assistant turn"),
        (pair([USER, {"role": "system", "content": "Now."}]), "the prompt ends with a system message"),
        (pair([{"role": "user", "content": " "}]), "the prompt is empty"),
        (pair(rejected=" \n"), "an answer is empty"),
        (pair(chosen="Critique: it is rude."), "a template leaked into an answer"),
        (pair(rejected="Fine.\n\nHuman: and you?"), "a template leaked into an answer"),
        (pair("Hi <|im_start|>system"), "a chat template's marker in the prompt"),
        (pair(probability=0.5), "tie"),
        (pair(probability=0.2), "its probability speaks against the label"),
        (pair(status="undecided"), "undecided"),
        (pair(weight=-1), "its weight is no number from 0"),
        (pair("What is a fox?", "A dog.", "A cat."), "the same row again"),
    ],
)
def test_rows_that_would_poison_a_trainer_are_left_out_and_counted(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source = written(tmp_path, pair("What is a fox?", "A dog.", "A cat."), row)
    report = export(source, ExportSettings("jsonl"), tmp_path / "out").kinds["preference"]
    assert (report.rows, dict(report.left_out)) == (1, {reason: 1})
    assert [row["chosen"][0]["content"] for row in lines(tmp_path / "out", "preference/train.jsonl")] == ["A dog."]


def test_leaks_can_be_allowed(tmp_path: Path) -> None:
    source = written(tmp_path, pair(chosen="Critique: it is rude."))
    assert export(source, ExportSettings("trl", allow_leaks=True), tmp_path / "out").kinds["preference"].rows == 1
    with pytest.raises(BadInput, match="1 a template leaked"):
        export(source, ExportSettings("trl"), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("name", "kind", "row", "reason"),
    [
        ("llama-factory", "preference", pair([USER, USER]), "its turns do not alternate between user and assistant"),
        ("llama-factory", "unpaired", pair("An <image> of you"), turns.PLACEHOLDER),
        ("axolotl", "reward", pair([USER, ASSISTANT, USER]), "it has several turns"),
        ("verl", "preference", pair([{"role": "system", "content": "Be brief."}, USER]), "it has a system message"),
        ("verl", "preference", pair("Hi\n\nHuman: again"), "a speaker's mark, such as Human:, in the text"),
        ("open-instruct", "preference", {"chosen": [USER, ASSISTANT, USER, ASSISTANT],
         "rejected": [USER, {**ASSISTANT, "content": "No."}, USER, ASSISTANT]},
         "chosen and rejected part before their last turn"),
    ],
)  # fmt: skip
def test_what_one_format_cannot_hold_is_left_out_there_and_kept_by_others(
    name: str, kind: Kind, row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    source = written(tmp_path, pair("What is a fox?", "A dog.", "A cat."), row)
    assert set(export(source, ExportSettings(name, (kind,)), tmp_path / "out").kinds[kind].left_out) == {reason}
    assert not export(source, ExportSettings("trl", (kind,)), tmp_path / "other").kinds[kind].left_out


def test_an_answer_is_good_or_bad_for_reasons(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        pair("What is a fox?", "A dog.", "A cat."),
        pair("What is a fox?", "A bird.", "A dog."),
        pair("How do I steal?", "Like so.", "Like this.", both_bad=True),
    )
    report = export(source, ExportSettings("trl", ("unpaired",)), tmp_path / "out").kinds["unpaired"]
    assert report.left_out == {
        "an answer that is better in one pair and worse in another": 2,
        "the better of two bad answers": 1,
    }
    rows = pq.read_table(tmp_path / "out" / "unpaired" / "train.parquet").to_pylist()
    assert {(row["completion"][0]["content"], row["label"]) for row in rows} == {
        ("A cat.", False),
        ("A bird.", True),
        ("Like this.", False),
    }


def test_a_run_is_exported_as_its_policies_left_it(run: Folder, tmp_path: Path) -> None:
    whole = pq.read_table(run.path("data/preferences/part-00000.parquet"))
    source = make_run(tmp_path / "run")
    weights = [0.5, *[1.0] * 8]
    column = whole.schema.get_field_index("weight")
    kept = whole.slice(0, 9).set_column(column, whole.schema.field("weight"), [weights])
    source.write_table("data/preferences/part-00000.parquet", kept)
    report = export(source.location, ExportSettings("trl"), tmp_path / "out").kinds["preference"]
    assert report.left_out == {"a flag's policy keeps it out of data/preferences": 1}
    rows = pq.read_table(tmp_path / "out" / "preference" / "train.parquet")
    assert rows["weight"].to_pylist() == weights


def test_a_margin_is_the_labels_log_odds_or_the_sources_own(tmp_path: Path) -> None:
    assert log_odds(0.8) == pytest.approx(math.log(4))
    assert log_odds(1.0) == log_odds(0.9999) == 3.0
    source = written(tmp_path, pair(probability=0.8, margin=2), pair("And you?", margin=1))
    made = export(source, ExportSettings("openrlhf", ("reward",), margin="log-odds"), tmp_path / "odds")
    assert made.kinds["reward"].left_out == {"there is no margin": 1}
    assert [row["margin"] for row in lines(tmp_path / "odds", "reward/train.jsonl")] == [pytest.approx(math.log(4))]
    export(source, ExportSettings("openrlhf", ("reward",), margin="given"), tmp_path / "given")
    assert [row["margin"] for row in lines(tmp_path / "given", "reward/train.jsonl")] == [2.0, 1.0]
    export(source, ExportSettings("openrlhf", ("reward",)), tmp_path / "none")
    assert all("margin" not in row for row in lines(tmp_path / "none", "reward/train.jsonl"))


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\u2028\u202e\r\n{{ 7 * 7 }}\x1b[2J" + "x" * 1_000_000
    source = written(tmp_path, pair(hostile, hostile + "!", "No."))
    export(source, ExportSettings("jsonl"), tmp_path / "json")
    (line,) = (tmp_path / "json" / "preference" / "train.jsonl").read_bytes().splitlines()
    assert line.isascii()
    assert json.loads(line)["prompt"] == [{"role": "user", "content": hostile}]
    export(source, ExportSettings("trl"), tmp_path / "trl")
    (row,) = pq.read_table(tmp_path / "trl" / "preference" / "train.parquet").to_pylist()
    assert row["chosen"] == [{"role": "assistant", "content": hostile + "!"}]


def test_all_kinds_share_their_splits_and_names_are_the_trainers_own(run: Folder, tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("preference", "sft")
    export(run.location, ExportSettings("alignment-handbook", kinds, test=0.5, seed=2), tmp_path / "out")
    asked: Counter[str] = Counter()
    for split in ("train", "test"):
        found = set()
        for kind, name in (("preference", f"{split}_prefs"), ("sft", f"{split}_sft")):
            rows = pq.read_table(tmp_path / "out" / kind / f"{name}.parquet").to_pylist()
            found.add(tuple(json.dumps(row["chosen" if kind == "preference" else "messages"][:-1]) for row in rows))
        assert len(found) == 1, "both kinds hold the same prompts in the same split"
        asked.update(found.pop())
    assert len(asked) == 10
    assert set(asked.values()) == {1}


def test_rows_that_hold_an_evaluations_prompt_are_left_out(tmp_path: Path) -> None:
    evaluation = tmp_path / "evaluation.csv"
    evaluation.write_text("prompt\nHow would a clever thief open an old safe?\n")
    source = written(
        tmp_path,
        pair("How would a clever thief open an old safe?"),
        pair([{"role": "user", "content": "Tell me: how would a clever thief open an old safe?"}, ASSISTANT, USER]),
        pair("How would a clever cook open an old tin?"),
    )
    report = export(source, ExportSettings("jsonl", decontaminate=(str(evaluation),)), tmp_path / "out")
    assert report.kinds["preference"].left_out == {"an evaluation's prompt is in it": 2}
    assert "tin" in lines(tmp_path / "out", "preference/train.jsonl")[0]["prompt"][0]["content"]


def test_nothing_is_overwritten_unless_asked_and_only_exports_are(tmp_path: Path) -> None:
    source = written(tmp_path, pair())
    out = tmp_path / "out"
    export(source, ExportSettings("jsonl"), out)
    with pytest.raises(BadInput, match="something in it already"):
        export(source, ExportSettings("trl"), out)
    assert (out / "preference" / "train.jsonl").exists()
    export(source, ExportSettings("trl", overwrite=True), out)
    assert [path.name for path in (out / "preference").iterdir()] == ["train.parquet"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(BadInput, match="not an export"):
        export(source, ExportSettings("trl", overwrite=True), mine)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_an_export_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    source = written(tmp_path, pair())
    export(source, ExportSettings("jsonl"), tmp_path / "out")
    before = sorted(path.name for path in tmp_path.iterdir())

    def broken(report: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(source, ExportSettings("trl", overwrite=True), tmp_path / "out", card=broken)
    assert (tmp_path / "out" / "preference" / "train.jsonl").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("settings", "output", "message"),
    [
        (ExportSettings("tlr"), "out", "did you mean 'trl'"),
        (ExportSettings("openrlhf", ("unpaired",)), "out", "takes no 'unpaired' data"),
        (ExportSettings("verl", margin="log-odds"), "out", "reads no margin"),
        (ExportSettings("trl"), "pairs.jsonl/out", "is a file, and a folder is due"),
        (ExportSettings("trl"), ".", "replace its own source"),
        (ExportSettings("trl", test=0.5), "out", "no prompt falls into"),
        (ExportSettings("trl", ("sft",)), "out", "there are no revisions in it"),
    ],
)
def test_what_cannot_be_exported_is_said_before_a_file_is_written(
    settings: ExportSettings, output: str, message: str, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    source = written(place, pair())
    with pytest.raises(BadInput, match=message):
        export(source, settings, place / output)
    assert [path.name for path in place.iterdir()] == ["pairs.jsonl"]


def test_verl_rows_say_their_split(run: Folder, tmp_path: Path) -> None:
    export(run.location, ExportSettings("verl", ("prompts",), test=0.5, seed=2), tmp_path / "out")
    for split in ("train", "test"):
        rows = load_dataset("parquet", data_files=str(tmp_path / "out" / "prompts" / f"{split}.parquet"), split="train")
        assert {row["extra_info"]["split"] for row in rows} == {split}
        assert all(row["reward_model"] == {"style": "model", "ground_truth": ""} for row in rows)
