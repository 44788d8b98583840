"""Stock phrases by their spread over prompts; the paper's released samples as its authors describe them."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.answers import read_answers
from evaluation.diversity import distinct_share
from evaluation.drift import Drift, drift, risen
from evaluation.drift_pages import drift_markdown

TOPICS = ("tea", "maps", "owls", "rain", "chess", "bread", "moss", "kites", "glass", "snow")
PLAIN = [(f"How about {topic}?", f"{topic} has {topic}-like parts.") for topic in TOPICS for _ in range(2)]
VARIANTS = ("I’m here to listen, if you want to talk.", "We are here to listen if need be.")
STOCK = [(prompt, f"{text} {VARIANTS[place % 2]}") for place, (prompt, text) in enumerate(PLAIN)]


def test_a_phrase_is_stock_by_its_prompts_not_by_its_answers() -> None:
    found = drift([*PLAIN, *[("How do I sail?", "Always trim the main sail first.")] * 20])
    assert found.families == ()
    assert found.widest is None
    three = [(f"How do I sail {n}?", "Always trim the sail.") for n in range(3)]
    widest = drift([*PLAIN, *three, *[(f"Why {n}?", f"For {n} reasons.") for n in range(10)]]).widest
    assert widest is not None
    assert (widest.phrase, widest.prompts) == ("always trim the sail", 3)


def test_a_family_holds_the_variants_of_its_phrase() -> None:
    found = drift(STOCK)
    family = found.families[0]
    assert family.prompts == 10
    assert family.family_share.value == 1, "every answer holds one variant"
    assert {"i'm here to listen", "here to listen if", "are here to listen"} <= set(family.members)
    assert found.stock_share.n == 20


def test_what_rose_is_told_from_what_was_there() -> None:
    later = drift(STOCK)
    assert later.families[0].phrase in [each.phrase for each in risen(PLAIN, later)]
    assert risen(STOCK, later) == []


def test_openers_sermons_and_canned_refusals() -> None:
    moral = [(f"How do I {n}?", f"It's important to respect others. Do {n} then.") for n in range(6)]
    refused = [(f"Tell me {topic} facts", "I'm sorry, but I can't help with that.") for topic in TOPICS[:2]]
    found = drift([*moral, *refused])
    assert found.preachy.value == pytest.approx(6 / 8)
    assert found.moral_sentences.value == pytest.approx(3 / 8)
    assert [opener.words for opener in found.openers] == ["it's important to"]
    assert found.opener_share.value == pytest.approx(6 / 8)
    assert found.canned_refusals.value == pytest.approx(2 / 8)


def test_distinct_runs_by_hand() -> None:
    # "a b a" and "a b": runs of two are (a b), (b a), (a b): two of three are distinct.
    found = distinct_share({"one": ["a b a"], "two": ["a b"]}, 2)
    assert found.value == pytest.approx(2 / 3)
    assert found.n == 2
    assert distinct_share({"one": ["a"]}, 2).value is None


def test_hostile_answers_stay_text() -> None:
    bad = [(f"p{n}", "<script>alert(1)</script> | `x` here to listen now " + "é" * 50_000) for n in range(4)]
    markdown = drift_markdown({"<b>|": drift(bad)}, {})
    assert "<script>" not in markdown
    assert "<b>" not in markdown


PAPER = Path(__file__).parents[3] / "shared" / "data" / "constitutional-ai-paper"


def of_samples(name: str) -> Drift:
    return drift([(answer.prompt, answer.text) for answer in read_answers(str(PAPER / f"samples.PALMS_{name}.jsonl"))])


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's files are not in ../shared/data/constitutional-ai-paper")
def test_the_papers_samples_drift_as_known() -> None:
    """Over all 66 prompts of the release: RL-CAI has distinct-4 0.543 and "I'm here to listen" in 54.6 % of answers on
    55 prompts; helpful RLHF has 0.743, and no phrase in more than 3.6 %. These are 40 of the prompts."""
    helpful, rl_cai = of_samples("HRLHF"), of_samples("RLMADISON")
    assert (rl_cai.answers, rl_cai.prompts) == (680, 40)
    assert rl_cai.distinct[3].value == pytest.approx(0.543, abs=0.01)
    assert helpful.distinct[3].value == pytest.approx(0.743, abs=0.01)
    assert rl_cai.families[0].phrase == "i'm here to listen"
    assert rl_cai.families[0].share.value == pytest.approx(0.615, abs=0.001)
    assert rl_cai.families[0].prompts == 39
    assert helpful.families == ()
    assert helpful.widest is not None
    assert helpful.widest.share.value == pytest.approx(0.04, abs=0.01)
    valued = next(family for family in rl_cai.families if "you are valid valued" in family.members)
    assert valued.share.value is not None
    assert valued.share.value < 0.15, "a literal phrase would miss what the family of phrases shows"
