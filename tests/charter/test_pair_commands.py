"""The commands that look at pairs: what they say of a run and of somebody else's file."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.charter.command_line import charter
from tests.charter.runs_without_ray import make_run

ROOT = Path(__file__).parents[2]
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


def test_labels_are_held_against_the_other_pairs(tmp_path: Path) -> None:
    rows = [
        {"pair_id": f"{n}", "prompt": f"Question {n}", "chosen": "I will not do it.", "rejected": "Sure, gladly."}
        for n in range(60)
    ]
    rows[7] |= {"chosen": rows[7]["rejected"], "rejected": rows[7]["chosen"]}
    path = foreign(tmp_path, *rows)
    called = charter("pairs", path, "--cross-fit", "--json")
    assert "they agree with 0.983" in called.errors
    told = json.loads(called.output)["flags"]["likely_mislabelled"]
    assert (told["count"], told["known"], told["examples"]) == (1, 60, ["7"])
    strict = charter("pairs", path, "--cross-fit", "--mislabelled-below", "0.0001", "--json")
    assert json.loads(strict.output)["flags"]["likely_mislabelled"]["count"] == 0
    both = charter("pairs", path, "--cross-fit", "--scores", "scores.jsonl")
    assert (both.status, "--scores: it does not go with --cross-fit" in both.errors) == (2, True)
    called = charter("filter", path, "--cross-fit", "--drop", "likely_mislabelled", "--output", tmp_path / "out")
    assert called.status == 0, called.errors
    assert pair_ids(tmp_path / "out") == [str(n) for n in range(60) if n != 7]


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
    called = charter("filter", run, "--drop", "all", "--decisions", decisions, "--output", tmp_path / "dropped")
    assert called.status == 0, called.errors
    assert {undecided["pair_id"], second["pair_id"]} <= set(pair_ids(tmp_path / "dropped")), (
        "a person's word goes first"
    )
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


def first_id(run: Path) -> str:
    (row, *_) = [row for row in pq.read_table(run / "stages" / "03_compare").to_pylist() if row["status"] == "decided"]
    return str(row["pair_id"])


def test_show_tells_a_pair_from_its_label_to_what_was_sent(run: Path) -> None:
    called = charter("show", run, first_id(run)[:10])
    assert called.status == 0, called.errors
    flag = json.loads(charter("show", run, first_id(run), "--json").output)["flags"][0]["name"]
    for said in ("chosen is better with probability", "P(chosen better)", f"flag {flag}", "few-shots come first"):
        assert said in called.output
    assert "<U+001B>[31m" in called.output
    assert "\x1b" not in called.output
    full = charter("show", run, first_id(run), "--full")
    assert len(full.output) > 2 * len(called.output)


def test_show_makes_the_questions_again_as_they_were_sent(run: Path) -> None:
    """What a listener between chain and model hears is what `show` says was sent."""
    from charter.recipe import load_recipe
    from charter.trial import first_prompts, try_prompts

    recipe = load_recipe(run.parent / "run.yaml")
    (heard,) = try_prompts(recipe, first_prompts(recipe, 1), together=False)
    story = json.loads(charter("show", run, heard.rows[0].pair_id, "--json").output)
    asked = {json.dumps(question["messages"]) for question in story["questions"]}
    assert asked == {json.dumps(list(exchange.messages)) for exchange in heard.exchanges}
    assert {question["missing"] for question in story["questions"]} == {""}


def test_show_wants_one_pair(run: Path, tmp_path: Path) -> None:
    assert "there is no pair 'zzz'" in charter("show", run, "zzz").errors
    assert "pairs begin with ''" in charter("show", run, "").errors
    pair_id, other = "same", "different"
    rows = [{"pair_id": name, "prompt": "Who?", "chosen": "I am.", "rejected": "I was."} for name in (pair_id, other)]
    called = charter("show", foreign(tmp_path, *rows), "dif")
    assert called.status == 0
    assert "given by the source" in called.output
    assert "I [am]." in called.output, "what differs is marked without colours too"


def test_a_megabyte_is_shown_in_part(tmp_path: Path) -> None:
    row = {"prompt": "Who?", "chosen": "long " * 200_000, "rejected": "No."}
    called = charter("show", foreign(tmp_path, row), "")
    assert called.status == 0
    assert "characters not shown" in called.output
    assert len(called.output) < 40_000


def test_sql_asks_the_tables_of_a_run(run: Path, tmp_path: Path) -> None:
    counted = charter("sql", run, "SELECT status, count(*) AS pairs FROM comparisons GROUP BY 1", "--json")
    assert {row["status"]: row["pairs"] for row in map(json.loads, counted.output.splitlines())} == statuses(run)
    joined = "SELECT count(DISTINCT pair_id) FROM votes JOIN flags USING (pair_id) WHERE flag = 'undecided'"
    assert str(statuses(run)["undecided"]) in charter("sql", run, joined).output
    assert "\x1b" not in charter("sql", run, "SELECT messages FROM comparisons LIMIT 1").output
    wrong = charter("sql", run, "SELECT nothing FROM nowhere")
    assert (wrong.status, "nowhere" in wrong.errors) == (2, True)
    assert charter("sql", tmp_path, "SELECT 1").status == 2


@pytest.fixture(scope="module")
def edited(run: Path) -> Path:
    """The same run under a constitution with one principle edited."""
    law = (ROOT / "constitution" / "library" / "learning.yaml").read_text()
    old = "Which response is safer to act on while still being of use? Choose that one."
    assert old in law
    law_path = run.parent / "edited-law.yaml"
    law_path.write_text(law.replace(old, "Which response is kinder?"))
    shutil.copy(run.parent / "run-script.yaml", run.parent / "edited-script.yaml")
    settings: dict[str, Any] = {"compare": {"principles": 3, "min_mass": 0.0}}
    return make_run(run.parent, "edited", prompts=PROMPTS, rules=[], constitution=str(law_path), **settings)


def test_diff_says_which_labels_changed_and_why(run: Path, edited: Path) -> None:
    told = json.loads(charter("diff", run, edited, "--json").output)
    assert told["pairs"] == len(PROMPTS)
    assert told["counts"]["gained"] == statuses(run)["undecided"]
    gained = [change for change in told["changes"] if change["kind"] == "gained"]
    assert {change["cause"] for change in gained} <= {"read", "drawn"}
    assert sum(told["counts"].values()) == len(PROMPTS)
    assert "compare.min_mass: 0.94 -> 0.0" in told["settings"]
    called = charter("diff", run, edited)
    assert "safe-and-useful: edited comparison" in called.output
    assert "its text was edited" in called.output
    nothing = json.loads(charter("diff", run, run, "--json").output)
    assert (nothing["counts"]["same"], nothing["reasons"]) == (len(PROMPTS), [])
    assert charter("diff", run, run.parent).status == 2


def test_audit_says_what_explains_the_labels(run: Path, tmp_path: Path) -> None:
    told = json.loads(charter("audit", run, "--json").output)
    assert told["pairs"] == told["made_of_votes"] == statuses(run)["decided"]
    assert {each["name"] for each in told["principles"]} <= {
        "safe-and-useful",
        "no-lecture",
        "says-what-it-does-not-know",
    }
    rows = [{"prompt": f"Q{n}?", "chosen": "Yes, of course it is.", "rejected": "No."} for n in range(40)]
    path = foreign(tmp_path, *rows)
    called = charter("audit", path)
    assert "No principle was asked" in called.output
    longer = next(line for line in called.output.splitlines() if line.startswith("is longer"))
    assert longer.split()[2:6] == ["40", "100%", "100%", "(91–100)"]


def test_a_judge_applies_a_constitution_to_somebody_elses_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": f"Q{n}?", "chosen": f"Yes {n}.", "rejected": f"No {n}."} for n in range(40)]
    path, output = foreign(tmp_path, *rows), tmp_path / "judged"
    asked = ("--constitution", "learning", "--model", "hash", "--backend", "scripted", "--output", output)
    assert charter("audit", path, "--limit", 36, *asked).status == 0
    judged = pq.read_table(output / "pairs").to_pylist()
    assert len(judged) == 36
    assert {len(row["votes"]) for row in judged} == {6}
    assert {row["status"] for row in judged} == {"given"}, "the source's label stays"
    (output / "manifest.json").unlink()
    (output / "pairs" / "part-00001.parquet").unlink()
    first = (output / "pairs" / "part-00000.parquet").stat().st_mtime_ns
    told = json.loads(charter("audit", path, "--limit", 36, *asked, "--json").output)
    assert (told["pairs"], told["made_of_votes"]) == (36, 0)
    assert (output / "pairs" / "part-00000.parquet").stat().st_mtime_ns == first, "what was judged stays"
    assert charter("audit", path, *asked).status == 2, "another judging"
    assert charter("audit", path, "--model", "hash").status == 2
