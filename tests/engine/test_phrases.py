"""Phrases by their spread over prompts, and variety, on texts made for it."""

from __future__ import annotations

import pytest

from engine.phrases import distinct, families, phrases_of, stock_phrases, widest, words_of


def test_words_know_no_case_and_no_punctuation() -> None:
    assert words_of("I’m HERE, to listen -- really_so!") == ["i'm", "here", "to", "listen", "really", "so"]


def test_no_phrase_reaches_over_the_end_of_a_sentence() -> None:
    assert list(phrases_of("Here it is, my friend. Now you go on")) == [
        "here it is my",
        "it is my friend",
        "now you go on",
    ]


def test_distinct_is_the_share_of_different_runs() -> None:
    assert distinct(["a b c d e", "a b c d"]) == pytest.approx(2 / 3)
    assert distinct(["a b c", ""]) is None


def test_a_phrase_spreads_by_its_prompts_not_by_its_answers() -> None:
    said = [{"glue the two halves"}] * 9 + [{"please remember you are"}] * 3
    found = widest(["p1"] * 9 + ["p2", "p3", "p4"], said)
    assert found is not None
    assert (found.phrase, found.prompts) == ("please remember you are", 3)
    assert found.answers == frozenset({9, 10, 11})
    assert widest(["p1", "p2"], [{"please remember you are"}] * 2) is None, "two prompts are a coincidence"
    assert widest([], []) is None


def test_phrases_that_overlap_in_the_same_answers_are_one_family() -> None:
    said = [set(phrases_of(f"number {n} I am here to listen to you today")) for n in range(5)]
    (family,) = families([str(n) for n in range(5)], said, 0.5)
    assert family.phrase == "am here to listen"
    assert "listen to you today" in family.members


def test_in_large_data_a_prompt_counts_once_and_rare_phrases_are_forgotten() -> None:
    answers = [(f"item-{n}", f"I’m here to listen to you, {'' if n % 2 else 'always '}{n}.") for n in range(200)]
    shares = stock_phrases(answers, share=0.6)
    assert shares == {"i'm here to listen to": 1.0, "here to listen to you": 1.0}
    assert stock_phrases(answers, share=0.4)["to listen to you always"] == pytest.approx(0.5)
    many_of_one = [("item-0", "We say this again and again.")] * 50 + [(f"item-{n}", f"word {n}") for n in range(9)]
    assert stock_phrases(many_of_one, share=0.1) == {}
    rare_then_common = [(f"item-{n}", f"quite other words number {n} here") for n in range(3000)]
    rare_then_common += [(f"late-{n}", "this one sentence comes late") for n in range(400)]
    late = stock_phrases(rare_then_common, share=0.1)
    assert late == {"this one sentence comes late": pytest.approx(400 / 3400, abs=0.01)}
