"""Stock phrases, sameness and length, on texts made for it and on what a real policy drifted to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainers.drift import distinct, stock_phrases, words_of

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "constitutional-ai-paper"


def test_words_know_no_case_and_no_punctuation() -> None:
    assert words_of("I’m HERE, to listen -- really_so!") == ["i'm", "here", "to", "listen", "really", "so"]


def test_distinct_is_the_share_of_different_runs() -> None:
    assert distinct(["a b c d e", "a b c d"]) == pytest.approx(2 / 3)
    assert distinct(["a b c", ""]) is None


def test_a_phrase_is_stock_where_it_is_said_on_many_prompts() -> None:
    prompts = ["p1", "p1", "p1", "p2", "p3", "p4"]
    texts = [
        "glue the two halves together now",
        "glue the two halves together again",
        "glue the two halves together well",
        "Please remember: you are not alone.",
        "please remember you are here",
        "something else was said about it",
    ]
    (first, *_) = stock_phrases(prompts, texts)
    assert first.phrase == "please remember you are"
    assert first.prompts == pytest.approx(2 / 4)
    assert first.answers == pytest.approx(2 / 6)


def test_overlapping_runs_are_one_phrase() -> None:
    texts = [f"number {n} I am here to listen to you today" for n in range(5)]
    found = stock_phrases([str(n) for n in range(5)], texts)
    assert [each.phrase for each in found if each.prompts == 1.0] == ["am here to listen"]


def test_no_texts_have_no_phrases() -> None:
    assert stock_phrases([], []) == []


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/data/constitutional-ai-paper is not there")
def test_the_papers_over_trained_policy_is_seen() -> None:
    found = {}
    for name in ("RLMADISON", "HRLHF"):
        lines = (SAMPLES / f"samples.PALMS_{name}.jsonl").read_text(encoding="utf-8").splitlines()
        said = [
            (row["rl_prompt"], answer["sampled_string"].split("\n\nHuman:")[0])
            for row in map(json.loads, lines)
            for answer in row["sampled_answers"]
        ]
        prompts, texts = [prompt for prompt, _ in said], [text for _, text in said]
        found[name] = (stock_phrases(prompts, texts)[0], distinct(texts) or 0.0)
    (drifted, sameness), (calm, variety) = found["RLMADISON"], found["HRLHF"]
    assert drifted.phrase == "i'm here to listen"
    assert drifted.answers > 0.5 > 0.1 > calm.answers
    assert sameness < 0.55 < 0.7 < variety
