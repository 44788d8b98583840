"""Pairs as they are trained on: labels, weights, margins and mixtures; what cannot be learnt from is said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from constitution.faults import BadInput
from engine.pairs import Pair, text_of
from engine.records import Vote
from trainers.preference_data import (
    PairSet,
    PairWeights,
    PreferenceSource,
    bin_of,
    by_prompt,
    label_of,
    load_pairs,
    mixed_pairs,
    per_principle,
    prepared_pair,
)

HH_RLHF = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf" / "harmless-base.jsonl.gz"


def row(chosen: str = "Glue it.", rejected: str = "No.", **columns: Any) -> dict[str, Any]:
    return {"prompt": "How do I mend it?", "chosen": chosen, "rejected": rejected, **columns}


def written(
    folder: Path, rows: Sequence[dict[str, Any]], name: str = "pairs.jsonl", **settings: Any
) -> PreferenceSource:
    path = folder / name
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return PreferenceSource(path=str(path), **settings)


@pytest.fixture
def pair(tmp_path: Path) -> Any:
    """Reads the pair of one row."""

    def read(values: dict[str, Any], **settings: Any) -> Pair:
        (found,) = load_pairs([written(tmp_path, [values, row("x", "y")], limit=1, **settings)], "data")
        return found.pairs[0]

    return read


def test_a_label_that_is_only_given_is_certain(pair: Any) -> None:
    found = pair(row())
    assert (label_of(found), found.weight, found.margin, bin_of(found)) == (1.0, 1.0, 0.0, "not known")


def test_the_better_answer_comes_first_and_everything_goes_with_it(pair: Any) -> None:
    found = pair(row(probability=0.2, chosen_bad=0.9, rejected_bad=0.1))
    assert (text_of(found.chosen), text_of(found.rejected)) == ("No.", "Glue it.")
    assert label_of(found) == pytest.approx(0.8)
    assert (found.chosen_bad, found.rejected_bad, bin_of(found)) == (0.1, 0.9, "good and bad")


def test_hard_labels_are_certain(pair: Any) -> None:
    assert label_of(pair(row(probability=0.7))) == 0.7
    assert label_of(pair(row(probability=0.7), labels="hard")) == 1.0
    assert label_of(pair(row(probability=0.2), labels="hard")) == 1.0


def test_weights_multiply(pair: Any) -> None:
    assert pair(row(weight=0.5), weight=4.0).weight == 2.0


def test_margins_follow_the_grade(pair: Any) -> None:
    assert pair(row(grade="better"), margins="large").margin == 2.0
    assert pair(row(grade="better"), margins="small").margin == pytest.approx(2 / 3)
    assert pair(row(grade="better")).margin == 0.0


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (row(grade="good"), {"margins": "small"}, "the grade is 'good'"),
        (row(grade="better", probability=0.7), {"margins": "small"}, "a margin is asked for, and the label is 0.7"),
        (row(), {"margins": "small"}, "there is no grade, and margins are asked for"),
        (row(weight=-1), {}, "the weight is -1"),
        (row(weight=float("nan")), {}, "the weight is nan"),
        (row(probability=1.2), {}, "'probability' is 1.2"),
        (row(probability="high"), {}, "'probability' is 'high', and a number is due"),
        (row(weight="much"), {}, "'weight' is 'much', and a number is due"),
    ],
)
def test_a_column_that_makes_no_sense_is_a_fault_at_its_row(
    values: dict[str, Any], settings: dict[str, Any], message: str, pair: Any
) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        pair(values, **settings)
    assert "pairs.jsonl" in str(raised.value)
    assert ":1" in str(raised.value)


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
def test_bins(
    chosen_bad: float | None, rejected_bad: float | None, both_bad: bool | None, expected: str, pair: Any
) -> None:
    assert bin_of(pair(row(chosen_bad=chosen_bad, rejected_bad=rejected_bad, both_bad=both_bad))) == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": "x", "chosen": "a", "rejcted": "b"}], "there is no 'rejected' among the columns"),
        ([row(probability=0.5), row("x", "y", probability=0.5)], "2 pairs is one half"),
        ([row(), row() | {"prompt": "What else?"}], "all 2 pairs prefer the same answer 'Glue it.'"),
        ([row("same", "same")], "no labelled pairs in it \\(1 identical\\)"),
        ([row(status="tie"), row(status="undecided")], "no labelled pairs in it \\(1 tie, 1 undecided\\)"),
        ([], "there are no pairs in it"),
    ],
)
def test_what_cannot_be_learnt_from_is_said(rows: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message) as raised:
        load_pairs([written(tmp_path, rows)], "data")
    assert "pairs.jsonl" in str(raised.value)


def test_a_pair_counts_once_over_all_sources_whoever_wins(tmp_path: Path) -> None:
    one = written(tmp_path, [row(), row("Nail it.")])
    other = written(tmp_path, [row("No.", "Glue it."), row("Tape it.")], "more.jsonl")
    first, second = load_pairs([one, other], "data")
    assert (len(first.pairs), len(second.pairs)) == (2, 1)
    assert second.left_out == {"seen before": 1}


def many(tmp_path: Path, count: int, **columns: Any) -> PairSet:
    rows = [row(f"answer {n}", **columns) | {"prompt": f"question {n}"} for n in range(count)]
    return load_pairs([written(tmp_path, rows)], "data")[0]


def test_sources_are_mixed_by_share_and_every_row_is_accounted_for(tmp_path: Path) -> None:
    sources = [PreferenceSource(path="a", share=3), PreferenceSource(path="b", share=1)]
    sets = [many(tmp_path, 90), many(tmp_path, 60, chosen_bad=0.9, rejected_bad=0.8)]
    mixed, left_out = mixed_pairs(sources, sets, PairWeights(), seed=1)
    assert [len(pairs) for pairs in mixed] == [90, 30]
    assert left_out == {"more than their source's share": 30}


def test_bins_are_weighed_and_weight_0_leaves_out(tmp_path: Path) -> None:
    both_bad = many(tmp_path, 2, chosen_bad=0.9, rejected_bad=0.9)
    bad_preferred = many(tmp_path, 3, chosen_bad=0.9, rejected_bad=0.1)
    other = many(tmp_path, 1, weight=2)
    sources = [PreferenceSource(path=name) for name in "abc"]
    mixed, left_out = mixed_pairs(sources, [both_bad, bad_preferred, other], PairWeights(both_bad=0.5), seed=1)
    assert [[pair.weight for pair in pairs] for pairs in mixed] == [[0.5, 0.5], [], [2.0]]
    assert left_out == {"weight 0 (bad preferred)": 3}


def vote(principle: str, order: Literal["ab", "ba"], probability_a: float | None) -> Vote:
    return Vote(principle, "0" * 16, order, (), 1.0, probability_a, "", "", ())


def test_a_pair_is_learnt_under_each_principle_with_its_own_label(tmp_path: Path, pair: Any) -> None:
    votes = (vote("kind", "ab", 0.9), vote("kind", "ba", 0.7), vote("true", "ab", 0.2), vote("true", "ba", 0.2))
    unread = (vote("safe", "ab", 0.9), vote("safe", "ba", None))
    judged = replace(pair(row()), votes=(*votes, *unread), principle_ids=("kind", "true", "safe"))
    asked = {"kind": "Which is kinder?", "true": "Which is truer?", "safe": "Which is safer?"}
    kind, true, safe = (prepared_pair(each, PreferenceSource(path="x")) for each in per_principle(judged, asked))
    assert isinstance(kind, Pair)
    assert isinstance(true, Pair)
    assert safe == "undecided"
    assert kind.prompt[0] == {"role": "system", "content": "Judge by: Which is kinder?"}
    assert (text_of(kind.chosen), text_of(true.chosen)) == ("Glue it.", "No.")
    assert (label_of(kind), label_of(true)) == pytest.approx((0.8, 0.8))
    assert kind.item_id == true.item_id == judged.item_id, "they are held out together"
    with pytest.raises(BadInput, match="this is no run folder"):
        load_pairs([written(tmp_path, [row()], by_principle=True)], "data")


def test_all_pairs_of_a_prompt_are_held_out_together(tmp_path: Path) -> None:
    rows = [row(f"answer {n}") | {"prompt": f"question {n % 100}"} for n in range(300)]
    (found,) = load_pairs([written(tmp_path, rows)], "data")
    training, held_out = by_prompt(found.pairs, 0.2, seed=1)
    assert len(training) + len(held_out) == 300
    assert not {each.item_id for each in training} & {each.item_id for each in held_out}
    assert 30 <= len(held_out) <= 90
    assert by_prompt(found.pairs, 0, seed=1)[1] == []


@pytest.mark.skipif(not HH_RLHF.exists(), reason="../shared/data/hh-rlhf is not there")
def test_every_pair_of_hh_rlhf_is_read() -> None:
    (found,) = load_pairs([PreferenceSource(path=str(HH_RLHF))], "data")
    assert len(found.pairs) + sum(found.left_out.values()) == 1391
    assert len(found.pairs) > 1380
    assert sum(len(each.prompt) > 1 for each in found.pairs) > 900, "most are multi-turn"
