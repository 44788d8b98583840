"""The commands that look at pairs: what they say of a run and of somebody else's file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.charter.command_line import charter
from tests.charter.runs_without_ray import make_run

HOSTILE = "[bold]Ask\x1b[31m</script> \u202eme"
PROMPTS = [{"prompt": f"{HOSTILE} {number}?", "category": "benign"} for number in range(12)]
POLICIES = {"both_bad": "separate", "principles_disagree": "down-weight"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs under two principles. Two in five of the judge's answers say too little to be read."""
    settings: dict[str, Any] = {"compare": {"principles": 2, "min_mass": 0.94}, "flags": {"policies": POLICIES}}
    return make_run(tmp_path_factory.mktemp("runs"), prompts=PROMPTS, rules=[], **settings)


def statuses(run: Path) -> Counter[str]:
    return Counter(pq.read_table(run / "stages" / "03_compare")["status"].to_pylist())


def foreign(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_run_records_its_flags_and_applies_its_policies(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    flags, made = manifest["flags"], manifest["products"]["preferences"]
    assert flags["undecided"]["count"] == made["left_out"]["undecided"] == statuses(run)["undecided"] > 0
    assert flags["both_bad"]["policy"] == "separate"
    assert 0 < flags["both_bad"]["count"] <= flags["both_bad"]["known"] < len(PROMPTS), "some were not read"
    kept = pq.read_table(run / "data" / "preferences").to_pylist()
    apart = pq.read_table(run / "data" / "preferences_both_bad").to_pylist()
    assert len(kept) == made["rows"]
    assert len(apart) == made["separate"]["both_bad"] > 0
    assert len(kept) + len(apart) == statuses(run)["decided"]
    assert all(row["both_bad"] for row in apart)
    assert Counter(row["weight"] for row in kept)[0.5] == made["down_weighted"] > 0


def test_pairs_says_what_a_run_is_like(run: Path) -> None:
    called = charter("pairs", run)
    assert called.status == 0, called.errors
    undecided = statuses(run)["undecided"]
    said = ("12 pairs", f"{undecided} undecided", "12 benign", "both_bad", "separate", "cannot be told here")
    assert [each for each in said if each not in called.output] == []
    told = json.loads(charter("pairs", run, "--json").output)
    assert told["statuses"] == statuses(run)
    assert told["flags"]["undecided"]["count"] == undecided
    assert told["flags"]["likely_mislabelled"]["known"] == 0


def test_flagged_pairs_are_listed_without_disturbing_the_terminal(run: Path) -> None:
    called = charter("pairs", run, "--flag", "undecided")
    assert called.status == 0
    assert "[bold]Ask<U+001B>[31m</script> <U+202E>me" in " ".join(called.output.split())
    assert "\x1b" not in called.output
    rows = json.loads(charter("pairs", run, "--flag", "undecided", "--json").output)
    assert {row["status"] for row in rows} == {"undecided"}
    unknown = charter("pairs", run, "--flag", "undecide")
    assert unknown.status == 2
    assert "there is no flag 'undecide' (did you mean 'undecided'?)" in unknown.errors


def test_scores_of_a_preference_model_show_labels_to_doubt(tmp_path: Path) -> None:
    carried = [{"pair_id": name, "prompt": f"What is {name}?", "chosen": "It is.", "rejected": "No."} for name in "xy"]
    path, scores = foreign(tmp_path, *carried), tmp_path / "scores.jsonl"
    scores.write_text(json.dumps({"pair_id": "x", "score_chosen": -3, "score_rejected": 2}))
    told = json.loads(charter("pairs", path, "--scores", scores, "--json").output)["flags"]["likely_mislabelled"]
    assert (told["count"], told["known"], told["examples"]) == (1, 1, ["x"])
    scores.write_text(json.dumps({"pair_id": "x"}))
    called = charter("pairs", path, "--scores", scores)
    assert called.status == 2
    assert "score_chosen" in called.errors


def test_what_is_no_pair_is_refused_with_what_would_be_one(tmp_path: Path) -> None:
    called = charter("pairs", foreign(tmp_path, {"text": "hello"}))
    assert called.status == 2
    assert "theirs.jsonl:1: there is no 'chosen' among the columns text" in called.errors
    assert charter("pairs", tmp_path / "nothing").status == 2


def pair_ids(folder: Path) -> list[str]:
    found: list[str] = pq.read_table(folder / "pairs")["pair_id"].to_pylist()
    return found


def test_a_filter_accounts_for_every_pair(run: Path, tmp_path: Path) -> None:
    called = charter("filter", run, "--drop", "both_bad", "--keep", "principles_disagree", "--output", tmp_path / "one")
    assert called.status == 0, called.errors
    removed = pq.read_table(tmp_path / "one" / "removed.parquet").to_pylist()
    kept = pq.read_table(tmp_path / "one" / "pairs").to_pylist()
    assert len(kept) + len(removed) == len(PROMPTS)
    assert Counter(row["because"][0] for row in removed)["undecided"] == statuses(run)["undecided"]
    assert {row["weight"] for row in kept} == {1.0}
    assert not any(row["both_bad"] for row in kept)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["policies"]["policies"]["both_bad"] == "drop"
    assert manifest["removed"]["both_bad"] == sum(row["because"][0] == "both_bad" for row in removed)
    assert charter("pairs", tmp_path / "one").status == 0
    by_recipe = charter("filter", run, "--output", tmp_path / "two", "--json")
    assert json.loads(by_recipe.output)["counts"]["down-weighted"] > 0, (
        "the recipe's policies hold unless told otherwise"
    )


def test_decisions_go_before_policies(run: Path, tmp_path: Path) -> None:
    everything = pq.read_table(run / "stages" / "03_compare").to_pylist()
    undecided, first, second = (
        next(row for row in everything if row["status"] == "undecided"),
        *[row for row in everything if row["status"] == "decided"][:2],
    )
    decisions = tmp_path / "decisions.jsonl"
    said = {undecided["pair_id"]: "relabel", first["pair_id"]: "drop", second["pair_id"]: "relabel"}
    decisions.write_text("".join(json.dumps({"pair_id": name, "decision": what}) + "\n" for name, what in said.items()))
    called = charter("filter", run, "--keep", "all", "--decisions", decisions, "--output", tmp_path / "out")
    assert called.status == 0, called.errors
    kept = {row["pair_id"]: row for row in pq.read_table(tmp_path / "out" / "pairs").to_pylist()}
    assert len(kept) == len(PROMPTS) - 1
    assert first["pair_id"] not in kept
    turned = kept[second["pair_id"]]
    loser = second["response_b" if second["probability_a"] > 0.5 else "response_a"]["text"]
    assert (turned["chosen"][0]["content"], turned["status"], turned["probability"]) == (loser, "given", None)
    assert kept[undecided["pair_id"]]["chosen"][0]["content"] == undecided["response_b"]["text"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"pair_id": "nobody", "decision": "drop"}, "1 of 1 decisions are about pairs that are not there: nobody"),
        ({"pair_id": "nobody", "decision": "delete"}, "'delete' is no decision"),
        ({"decision": "drop"}, "there is no pair_id"),
    ],
)
def test_decisions_that_fit_nothing_are_refused(line: dict[str, str], said: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "decisions.jsonl").write_text(json.dumps(line))
    called = charter("filter", run, "--decisions", tmp_path / "decisions.jsonl", "--output", tmp_path / "out")
    assert called.status == 2
    assert said in called.errors
    assert not (tmp_path / "out").exists()


def test_a_filter_overwrites_nothing_and_wants_one_policy_a_flag(run: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    assert charter("filter", run, "--output", tmp_path / "full").status == 2
    twice = charter("filter", run, "--drop", "empty", "--separate", "empty", "--output", tmp_path / "out")
    assert (twice.status, "'empty' is given to --separate too" in twice.errors) == (2, True)


def test_an_import_is_whole_or_not_at_all(tmp_path: Path) -> None:
    good = {"prompt": "Who?", "chosen": "I.", "rejected": "You."}
    path = foreign(tmp_path, good, {"prompt": "Who?"}, good)
    called = charter("import", path, "--output", tmp_path / "out")
    assert called.status == 2
    assert "theirs.jsonl:2: there is no 'chosen'" in called.errors
    assert charter("import", path, path, "--skip-bad-rows", "--output", tmp_path / "out").status == 0
    assert len(set(pair_ids(tmp_path / "out"))) == 4, "ids are unique over several files"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["pairs"], manifest["rows_skipped"]) == (4, 2)
