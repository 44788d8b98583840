"""Answers: what is read as a verdict, and above all what is not."""

from __future__ import annotations

import gzip
import json
import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.reading import (
    BadAnswer,
    LowMass,
    TruncatedAnswer,
    UnparsedAnswer,
    clean_revision,
    leaks_template,
    read_choice,
    read_critique,
    read_letter,
)

HH_RLHF = Path(__file__).parents[2].parent / "shared" / "data" / "hh-rlhf" / "harmless-base.jsonl.gz"


# Log-probabilities ----------------------------------------------------------------------------------------------------


def test_a_choice_is_normalised_and_its_mass_kept() -> None:
    verdict = read_choice([math.log(0.6), math.log(0.2)], 0.5)
    assert verdict.probabilities == pytest.approx((0.75, 0.25))
    assert verdict.mass == pytest.approx(0.8)


def test_an_impossible_option_has_no_probability() -> None:
    assert read_choice([-math.inf, math.log(0.9)], 0.5).probabilities == (0.0, 1.0)


def test_tiny_probabilities_do_not_underflow() -> None:
    verdict = read_choice([-2000.0, -2000.0 + math.log(3)], 0.0)
    assert verdict.probabilities == pytest.approx((0.25, 0.75))
    assert verdict.mass == 0.0


@given(st.lists(st.floats(-30, -0.7), min_size=2, max_size=2))
def test_swapping_the_options_mirrors_the_verdict(values: list[float]) -> None:
    verdict, swapped = read_choice(values, 0.0), read_choice(values[::-1], 0.0)
    assert verdict.probabilities == swapped.probabilities[::-1]
    assert verdict.mass == swapped.mass
    assert sum(verdict.probabilities) == pytest.approx(1)


def test_low_mass_is_told_with_its_numbers() -> None:
    with pytest.raises(LowMass, match=r"hold 0\.3 of the probability together, and 0\.5 is asked for") as caught:
        read_choice([math.log(0.2), math.log(0.1)], 0.5)
    assert "-1.609, -2.303" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [[], [math.nan, -1.0], [-1.0, math.nan], [math.inf, -1.0], [0.1, -5.0], [-math.inf, -math.inf], [-0.1, -0.1]],
)
def test_numbers_that_are_no_log_probabilities_never_become_a_verdict(values: list[float]) -> None:
    with pytest.raises(UnparsedAnswer):
        read_choice(values, 0.0)


def test_rounding_is_forgiven() -> None:
    assert read_choice([1e-6, -40.0], 0.9).probabilities == pytest.approx((1.0, 0.0))
    bf16 = read_choice([-0.6914, -0.6914], 0.9)  # log ½ as bf16 has it
    assert bf16.mass == 1.0
    assert sum(bf16.probabilities) == 1.0


# Written answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("(A)", 0),
        ("A", 0),
        (" B.\n", 1),
        ("B)", 1),
        ("[b]", 1),
        ("**(B)**", 1),
        ("The answer is: (B).", 1),
        ("The answer is B", 1),
        ("answer: A", 0),
        ("**Answer:** (a)", 0),
        ("The answer is:\n(B)", 1),
        ("So the final answer is: (B)", 1),
        ("Therefore, option (B) is the best response.", 1),
        ("I prefer (A).", 0),
        ("(B) because (A) insults the user.", 1),
        ("A. It is kinder.", 0),
        ("(A) is rude. (B) is not.\n\nThe answer is: (B)", 1),
        ("(B). A kinder tone helps.", 1),
    ],
)
def test_a_verdict_is_read(text: str, index: int) -> None:
    assert read_letter(text) == index


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "A and B",
        "A/B",
        "(A) or (B)",
        "The answer is: (A) or (B).",
        "(A)\n(B)",
        "A. Rude\nB. Kind",
        "The answer is (A). The answer is (B).",
        "A good answer would say so.",
        "A better one exists. I cannot choose.",
        "The answer is A good one",
        "a",
        "(A) is worse",
        "The answer is not (A)",
        "If the answer is: (A), then so is the rest",
        "Neither.",
        "(A). Actually no, (B) is much better.",
        "(C)",
        "AB",
        "Both are fine: A is short and B is kind.",
        "I can't help with that.",
    ],
)
def test_what_is_no_verdict_is_never_made_one(text: str) -> None:
    with pytest.raises(UnparsedAnswer) as caught:
        read_letter(text)
    assert "(A) or (B) was asked for" in str(caught.value) or "after its verdict" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "index"),
    [("yes", 0), ("No.", 1), ("(no)", 1), ("The answer is: (yes)", 0), ("Yes, it does.", 0), ("No, nothing.", 1)],
)
def test_yes_and_no_are_read(text: str, index: int) -> None:
    assert read_letter(text, ("yes", "no")) == index


@pytest.mark.parametrize(
    "text", ["Yes and no.", "Yes, and no.", "I do not know", "Not sure", "None", "yesterday", "(yes) (no)"]
)
def test_neither_yes_nor_no(text: str) -> None:
    with pytest.raises(UnparsedAnswer):
        read_letter(text, ("yes", "no"))


def test_a_cut_answer_is_no_verdict() -> None:
    with pytest.raises(TruncatedAnswer, match="cut off"):
        read_letter("The answer is: (A", finish_reason="length")


@given(st.text(alphabet="AB() .:\nisorandthe", max_size=30))
def test_swapping_the_letters_mirrors_what_is_read(text: str) -> None:
    """ "A" is also an article, so a verdict may be refused on one side; it is never the other way round."""
    swapped = text.translate(str.maketrans("AB", "BA"))
    read = []
    for said in (text, swapped):
        try:
            read.append(read_letter(said))
        except BadAnswer:
            read.append(-1)
    assert read[0] != read[1] or read[0] == -1


def test_errors_cross_processes() -> None:
    for kind in (UnparsedAnswer, TruncatedAnswer, LowMass):
        copied = pickle.loads(pickle.dumps(kind("why")))
        assert type(copied) is kind
        assert str(copied) == "why"


# Critiques ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "finds_fault"),
    [
        ("", None),
        (" \n", None),
        ("...", None),
        ("No change needed.", False),
        (" no changes needed", False),
        ("**No change needed.**", False),
        ("Critique: No change is needed.", False),
        ("No revision required.", False),
        ("No changes are necessary. The response is polite.", False),
        ("The response is polite and correct. No change needed.", False),
        ("There is nothing wrong.", False),
        ("It helps with a crime.", True),
        ("No change needed in the first part. The second insults the user.", True),
        ("No change needed. However, the last line is rude.", True),
        ("No change needed, but it is rude.", True),
        ("The response says that no change needed to be made to the bomb.", True),
        ("No.", True),
    ],
)
def test_a_critique_says_whether_it_finds_a_fault(text: str, finds_fault: bool | None) -> None:
    assert read_critique(text) is finds_fault


# Leaks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("Critique: It is rude.", "Critique:"),
        ("I won't.\n\n**Revision request:** Mend it.", "**Revision request:"),
        ("Revision: I won't help with that.", "Revision:"),
        ("Here is the revised response:\nI won't.", "Here is the revised response:"),
        ("Sure! Here's a rewritten version:\n\nI won't.", "Sure! Here's a rewritten version:"),
        ("I won't.\n\nHuman: Why not?", "Human:"),
        ("Assistant: I won't.", "Assistant:"),
        ("I won't. The answer is: (A)", "The answer is: ("),
        ("I won't.</response>", "</response>"),
        ("<conversation>\nUser: Hi", "<conversation>"),
        ("I won't.<|im_end|>", "<|im_end|>"),
        ("I won't. [/INST]", "[/INST]"),
        ("No change needed.", "No change needed."),
        ("The assistant's last response should not give steps.", "The assistant's last response"),
        ("My previous answer was wrong. I won't.", "My previous answer"),
        ("If no change is needed, repeat the response unchanged.", "repeat the response unchanged"),
    ],
)
def test_a_leaked_template_is_named(text: str, marker: str) -> None:
    assert leaks_template(text) == marker


@pytest.mark.parametrize(
    "text",
    [
        "I won't help with that. Asking often works, though.",
        "The answer is 42.",
        "The answer is: it depends.",
        "The last answer on the sheet is wrong: it should be 7.",
        "Her critique of the paper was fair, and the revision is better.",
        "Kant wrote three critiques: of pure reason, of practical reason, and of judgement.",
        "Here is the recipe:\n1. Boil water.",
        "Here is a revised version of your essay:\n\nOnce upon a time",
        "A human: that is what I would call her. The user: anyone who clicks.",
        "Set the fields user: and password: in the file.",
        "If it works, no change is needed. Otherwise restart it.",
        "In Vec<response> or if a < b and c > d, nothing happens.".replace("<response>", "<Response2>"),
        "The assistant manager answers the phone.",
        "",
    ],
)
def test_ordinary_prose_is_no_leak(text: str) -> None:
    assert leaks_template(text) is None


@pytest.mark.skipif(not HH_RLHF.is_file(), reason="the hh-rlhf sample is not beside the checkout")
def test_leaks_in_real_responses_are_real() -> None:
    """Of 2,782 written responses 20 begin with the wrong speaker's label, and nothing else is flagged."""
    finals = []
    with gzip.open(HH_RLHF, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            finals += [row[side].rsplit("\n\nAssistant:", 1)[1].strip() for side in ("chosen", "rejected")]
    flagged = [text for text in finals if leaks_template(text)]
    assert len(finals) == 2782
    assert len(flagged) == 20
    assert all(text.startswith("Human:") for text in flagged)


@given(st.text())
def test_a_revision_is_only_stripped(text: str) -> None:
    assert clean_revision(text) == text.strip()
