"""Cells, totals and pairs of scorecards by hand; hostile transcripts on the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evaluation.refusals import Extent
from evaluation.scorecard import compare, scorecard
from evaluation.scorecard_pages import Transcript, scorecard_html, scorecard_markdown
from tests.evaluation.chromium_for_tests import NEEDS_CHROMIUM


@dataclass(frozen=True)
class Row:
    item_id: str
    category: str
    vector: str
    harmful: bool | None
    refusal: Extent | None


def rows(unsafe: int, refused: int) -> list[Row]:
    """Ten theft prompts, plain and as role play, and ten benign ones; so many unsafe plain ones and refused benign."""
    plain = [Row(f"theft-{n}", "theft", "", n < unsafe, "none" if n < unsafe else "full") for n in range(10)]
    played = [Row(f"theft-{n}-play", "theft", "role_play", True if n else None, "none") for n in range(10)]
    benign = [Row(f"tea-{n}", "benign", "none", False, "partial" if n < refused else "none") for n in range(10)]
    return [*played, *benign, *plain]


SEEDS = {f"theft-{n}-play": f"theft-{n}" for n in range(10)}


def test_cells_hold_unsafe_answers_and_false_refusals() -> None:
    card = scorecard("base", rows(2, 3), SEEDS)
    assert (card.vectors, card.categories, card.harmless) == (("none", "role_play"), ("theft", "benign"), ("benign",))
    plain, played, benign = (
        card.cell(*where) for where in (("none", "theft"), ("role_play", "theft"), ("none", "benign"))
    )
    assert plain is not None
    assert played is not None
    assert benign is not None
    assert (plain.rate.value, plain.rate.n, plain.unscored) == (0.2, 10, 0)
    assert plain.examples == ("theft-0", "theft-1")
    assert (played.rate.value, played.rate.n, played.unscored) == (1, 9, 1)
    assert benign.rate.value == pytest.approx(0.3)
    assert card.cell("role_play", "benign") is None
    assert card.unsafe.value == pytest.approx(11 / 19)
    assert card.false_refusals.value == pytest.approx(0.3)
    assert card.by_vector["role_play"].value == 1
    assert card.unscored == 1


def test_prompts_of_one_seed_belong_together() -> None:
    many = [Row(f"{n}-{k}", "theft", f"v{k}", n % 2 == 0, "none") for n in range(20) for k in range(5)]
    apart, together = scorecard("x", many), scorecard("x", many, {row.item_id: row.item_id[:-2] for row in many})
    widths = [card.unsafe.high - card.unsafe.low for card in (apart, together) if card.unsafe.high and card.unsafe.low]
    assert widths[1] > 1.8 * widths[0], "20 seeds are behind the 100 prompts"


def test_two_policies_are_paired_by_prompt() -> None:
    found = compare("base", rows(8, 0), "final", rows(1, 2))
    harmful, harmless = found.cells[:2]
    assert (harmful.vector, harmful.category, harmful.shares.first.n) == ("all", "harmful", 19)
    assert (harmful.shares.only_first, harmful.shares.only_second) == (7, 0)
    assert harmful.shares.p_value == pytest.approx(2 / 2**7)
    assert harmless.shares.difference.value == pytest.approx(0.2)
    assert found.unpaired == 1


HOSTILE = "<script>alert(1)</script>{{ 7*7 }}\x00\x1b[2J\u202e<img src=x onerror=alert(1)>" + "A" * 100_000


def test_hostile_transcripts_are_text() -> None:
    name = '"><b>\x1b'
    card = scorecard(name, rows(1, 0), SEEDS)
    transcripts = [Transcript(name, "theft-0", "none", "theft", [("user", HOSTILE)], HOSTILE)]
    page = scorecard_html([card], [compare(name, rows(1, 0), "<i>", rows(0, 1))], transcripts)
    assert "<script" not in page
    assert "<img" not in page
    assert "{{ 7*7 }}" in page
    assert "<b>" not in page
    assert "&lt;U+0000&gt;&lt;U+001B&gt;[2J&lt;U+202E&gt;" in page
    assert not set("\x00\x1b\u202e") & set(page)
    assert len(page) < 30_000
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "http" not in re.sub(r"http-equiv", "", page), "the page asks nobody for anything"
    markdown = scorecard_markdown([card], [])
    assert "<b>" not in markdown
    assert "\x1b" not in markdown
    (link,) = set(re.findall(r"scorecard\.html#(t-[\w-]*theft-0)\)", markdown))
    assert f'id="{link}"' in page


@NEEDS_CHROMIUM[0]
@NEEDS_CHROMIUM[1]
def test_long_names_neither_widen_the_page_nor_stand_upright_on_a_phone(browser: Any, tmp_path: Path) -> None:
    names = ["a_policy_with_quite_a_long_name/" * 4 + end for end in "ab"]
    cards = [scorecard(name, rows(1, 2), SEEDS) for name in names]
    file = tmp_path / "scorecard.html"
    file.write_text(scorecard_html(cards, [compare(names[0], rows(1, 0), names[1], rows(0, 1))], []))
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert min(page.locator(".name").evaluate_all("all => all.map(each => each.clientWidth)")) > 80
    page.close()
