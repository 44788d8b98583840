"""What the page is given: cut texts, colours, and data that no text can break out of."""

from __future__ import annotations

import json
import re

import pytest

from evaluation.map.facets import facets_of, file_of, length_step, quantile_edges
from evaluation.map.page import as_script_data, render_page
from evaluation.map.payload import MOST_CHARACTERS, cut, cut_prompt, text_limit
from prompts.messages import Message
from tests.evaluation.map.pairs_for_tests import pair


def test_a_long_text_keeps_its_beginning_and_end_and_says_what_is_missing() -> None:
    text = "begin " + "x" * 1_000_000 + " end"
    kept = cut(text, 1000)
    assert isinstance(kept, list)
    head, left_out, tail = kept
    assert isinstance(head, str)
    assert isinstance(tail, str)
    assert head.startswith("begin ")
    assert tail.endswith(" end")
    assert len(head) + len(tail) == 1000
    assert left_out == len(text) - 1000
    assert cut("short", 1000) == "short"


def test_a_long_conversation_keeps_its_last_turns() -> None:
    turns = [Message(role="user" if n % 2 == 0 else "assistant", content=f"turn {n} " * 20) for n in range(51)]
    kept = cut_prompt(turns, 1000)
    assert kept["turns"][-1] == ["user", turns[-1]["content"]]
    assert kept["left_out"] + len(kept["turns"]) == 51
    assert sum(len(text) for _, text in kept["turns"]) <= 1000


def test_texts_are_cut_shorter_where_there_are_many() -> None:
    few = [pair("p", "x" * 8000, "y" * 8000)]
    assert text_limit(few) == 8000
    assert text_limit(few * 2000) * 2 * 2000 <= MOST_CHARACTERS


def test_facets_tell_pairs_apart_by_flag_label_category_and_length() -> None:
    pairs = [
        pair("p", "one two three", "one", 0, category="crime", probability=0.95, principle_ids=("kind", "honest")),
        pair("p", "one", "one two three", 1, probability=0.55, principle_ids=("kind",)),
        pair("p", "one two", "two one", 2, category="benign", margin=float("nan")),
    ]
    flags = {pairs[0].pair_id: {"both_bad": "as propositions say", "order_flip": ""}}
    facets = {facet.key: facet for facet in facets_of(pairs, flags, {"both_bad": "Both are bad."})}
    assert list(facets) == ["flag", "principle", "category", "probability", "length"]
    flag = facets["flag"]
    assert [[flag.values[value] for value in of] for of in flag.of] == [["both_bad", "order_flip"], [], []]
    assert flag.notes == ("Both are bad.", "")
    assert facets["category"].of == ((0,), (), (1,))
    assert facets["probability"].numbers == (0.95, 0.55, None)
    steps = [facets["probability"].values[of[0]] for of in facets["probability"].of if of]
    assert steps == ["0.9 to 1", "0.5 to 0.6"]
    assert [facets["length"].values[of[0]] for of in facets["length"].of] == [
        "longer",
        "less than half of rejected",
        "about the same",
    ]


def test_many_values_share_one_name_beyond_the_most_common() -> None:
    pairs = [pair("p", f"{n}", "r", n, category="common" if n < 10 else f"rare {n}") for n in range(100)]
    (category,) = (facet for facet in facets_of(pairs, {}, {}) if facet.key == "category")
    assert category.values[0] == "common"
    assert category.values[-1] == "(others)"
    assert len(category.values) == 40
    assert all(len(of) == 1 for of in category.of)


@pytest.mark.parametrize(
    ("source", "file"),
    [("a/b.jsonl:12", "a/b.jsonl"), ("b.parquet: row 3", "b.parquet"), ("s3://bucket/x", "s3://bucket/x"), ("", "")],
)
def test_the_file_of_a_place(source: str, file: str) -> None:
    assert file_of(source) == file


def test_steps_of_lengths_and_numbers() -> None:
    assert [length_step(*lengths) for lengths in ((10, 40), (30, 40), (40, 40), (60, 40), (100, 40))] == [0, 1, 2, 3, 4]
    assert quantile_edges([0.0, 0.0, 0.0, 1.0, 2.0, 3.0]) == pytest.approx([0.0, 1.0, 2.0, 3.0])
    assert quantile_edges([2.0, 2.0]) == [2.0, 2.0]


def test_script_data_reads_back_and_holds_no_markup() -> None:
    value = {"text": "</script><!-- &amp; <b> \u202e \u2028 \x00 é 🎉"}
    data = as_script_data(value)
    assert json.loads(data) == value
    assert data.isascii()
    assert not set("<>&") & set(data)


def test_the_page_allows_its_own_scripts_alone() -> None:
    html = render_page({})
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.findall(r'(?:src|href)="', html)
