"""Pairs come out of every form in which people keep them, and what is wrong with a file is said before training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from constitution.faults import BadInput
from trainers.preference_data import (
    Pair,
    PairSet,
    PairWeights,
    PreferenceSource,
    by_prompt,
    load_pairs,
    mixed_pairs,
    read_pair,
)

HH_RLHF = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf" / "harmless-base.jsonl.gz"
ASKED = [{"role": "user", "content": "How do I mend it?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def row(chosen: Any = "Glue it.", rejected: Any = "No.", **columns: Any) -> dict[str, Any]:
    return {"prompt": ASKED, "chosen": chosen, "rejected": rejected, **columns}


def written(folder: Path, rows: Sequence[dict[str, Any]], name: str = "pairs.jsonl") -> PreferenceSource:
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return PreferenceSource(path=str(path))


def pair(values: dict[str, Any], **settings: Any) -> Pair:
    return read_pair(values, PreferenceSource(path="x", **settings))


def texts(found: Pair) -> tuple[str, str, str]:
    assert len(found.chosen) == len(found.rejected) == 1
    return found.prompt[-1]["content"], found.chosen[0]["content"], found.rejected[0]["content"]


@pytest.mark.parametrize(
    "values",
    [
        row(),
        row(said("Glue it."), said("No.")),
        row(ASKED + said("Glue it."), ASKED + said("No.")),
        {"chosen": ASKED + said("Glue it."), "rejected": ASKED + said("No.")},
        {
            "chosen": "\n\nHuman: How do I mend it?\n\nAssistant: Glue it.",
            "rejected": "\n\nHuman: How do I mend it?\n\nAssistant: No.",
        },
        row() | {"prompt": "How do I mend it?"},
    ],
    ids=["texts", "messages", "prompt repeated", "whole conversations", "transcripts", "plain prompt"],
)
def test_a_pair_is_the_same_in_every_form(values: dict[str, Any]) -> None:
    found = pair(values)
    assert texts(found) == ("How do I mend it?", "Glue it.", "No.")
    assert found.pair_id == pair(row()).pair_id
    assert (found.probability, found.weight, found.margin, found.bin) == (1.0, 1.0, 0.0, "not known")


def test_the_better_answer_comes_first_and_the_label_goes_with_it() -> None:
    found = pair(row(probability=0.2, chosen_bad=0.9, rejected_bad=0.1))
    assert texts(found)[1:] == ("No.", "Glue it.")
    assert found.probability == pytest.approx(0.8)
    assert (found.chosen_bad, found.rejected_bad, found.bin) == (0.1, 0.9, "good and bad")
    assert found.pair_id == pair(row()).pair_id, "it is the same pair, whoever wins"


def test_hard_labels_are_certain_and_ties_stay_ties() -> None:
    assert pair(row(probability=0.7), labels="hard").probability == 1.0
    assert pair(row(probability=0.5), labels="hard").probability == 0.5


def test_margins_follow_the_grade_and_want_certain_labels() -> None:
    assert pair(row(grade="better"), margins="large").margin == 2.0
    assert pair(row(grade="better")).margin == 0.0
    for values, message in (
        (row(grade="good"), "the grade is 'good'"),
        (row(grade="better", probability=0.7), "a margin is asked for a label of 0.7"),
        (row(), "no column 'grade'"),
    ):
        with pytest.raises(Exception, match=message):
            pair(values, margins="small")


@pytest.mark.parametrize(
    ("chosen_bad", "rejected_bad", "both_bad", "expected"),
    [
        (0.1, 0.2, None, "both good"),
        (0.8, 0.9, None, "both bad"),
        (0.8, 0.1, None, "bad preferred"),
        (None, 0.1, None, "not known"),
        (None, None, True, "both bad"),
    ],
)
def test_bins(chosen_bad: float | None, rejected_bad: float | None, both_bad: bool | None, expected: str) -> None:
    assert pair(row(chosen_bad=chosen_bad, rejected_bad=rejected_bad, both_bad=both_bad)).bin == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": ASKED, "chosen": "a", "rejcted": "b"}], "there is no column 'rejected'"),
        ([row(probability="high")], "'probability' is 'high'"),
        ([row(probability=1.2)], "'probability' is 1.2"),
        ([row(weight=-1)], "'weight' is -1"),
        ([row(weight=float("nan"))], "'weight' is nan"),
        ([row(chosen=ASKED)], "'chosen' does not end with an assistant message"),
        ([row(probability=0.5), row("x", "y", probability=0.5)], "2 pairs is one half"),
        ([row(), row() | {"prompt": "What else?"}], "all 2 pairs prefer the same answer 'Glue it.'"),
        ([row("same", "same")], "there are no pairs in it \\(1 the same answer twice\\)"),
        ([], "there are no pairs in it"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        load_pairs([written(tmp_path, rows)], "data")
    assert "pairs.jsonl" in str(raised.value)


def test_a_table_that_lacks_a_column_has_one_fault(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"] * 50, "chosen": ["b"] * 50}), tmp_path / "pairs.parquet")
    with pytest.raises(BadInput, match="no column 'rejected'; found: prompt, chosen") as raised:
        load_pairs([PreferenceSource(path=str(tmp_path / "pairs.parquet"))], "data")
    assert len(raised.value.faults) == 1


def test_a_pair_counts_once_over_all_sources(tmp_path: Path) -> None:
    one = written(tmp_path, [row(), row("Nail it.")])
    other = written(tmp_path, [row("No.", "Glue it."), row("Tape it.")], "more.jsonl")
    first, second = load_pairs([one, other], "data")
    assert (len(first.pairs), len(second.pairs)) == (2, 1)
    assert second.left_out == {"seen before": 1}


def many(count: int, **columns: Any) -> list[Pair]:
    return [pair(row(f"answer {n}", **columns) | {"prompt": f"question {n}"}) for n in range(count)]


def test_sources_are_mixed_by_share_and_every_row_is_accounted_for() -> None:
    sources = [PreferenceSource(path="a", share=3), PreferenceSource(path="b", share=1)]
    sets = [PairSet(many(90)), PairSet(many(60, chosen_bad=0.9, rejected_bad=0.8))]
    mixed, left_out = mixed_pairs(sources, sets, PairWeights(), seed=1)
    assert [each.bin for each in mixed].count("not known") == 90
    assert [each.bin for each in mixed].count("both bad") == 30
    assert left_out == {"more than their source's share": 30}


def test_bins_are_weighed_and_weight_0_leaves_out() -> None:
    pairs = [*many(2, chosen_bad=0.9, rejected_bad=0.9), *many(3, chosen_bad=0.9, rejected_bad=0.1), *many(1, weight=2)]
    mixed, left_out = mixed_pairs([PreferenceSource(path="a")], [PairSet(pairs)], PairWeights(both_bad=0.5), seed=1)
    assert [each.weight for each in mixed] == [0.5, 0.5, 2.0]
    assert left_out == {"weight 0, bad preferred": 3}


def test_all_pairs_of_a_prompt_are_held_out_together() -> None:
    pairs = [pair(row(f"answer {n}") | {"prompt": f"question {n % 100}"}) for n in range(300)]
    training, held_out = by_prompt(pairs, 0.2, seed=1)
    assert len(training) + len(held_out) == 300
    assert not {each.item_id for each in training} & {each.item_id for each in held_out}
    assert 30 <= len(held_out) <= 90
    assert by_prompt(pairs, 0, seed=1)[1] == []


@pytest.mark.skipif(not HH_RLHF.exists(), reason="../shared/data/hh-rlhf is not there")
def test_every_pair_of_hh_rlhf_is_read() -> None:
    (found,) = load_pairs([PreferenceSource(path=str(HH_RLHF))], "data")
    assert len(found.pairs) + sum(found.left_out.values()) == 1391
    assert len(found.pairs) > 1380
    assert all(each.prompt[-1]["role"] == "user" for each in found.pairs)
    assert sum(len(each.prompt) > 1 for each in found.pairs) > 900, "most are multi-turn"
