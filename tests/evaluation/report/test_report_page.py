"""The page in a real browser: it shows what the run found, and texts that try to break out of it do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.estimates import Estimate, share
from evaluation.report.content import Ratings, Report, Step
from evaluation.report.page import render
from tests.evaluation.chromium_for_tests import NEEDS_CHROMIUM
from tests.evaluation.report.report_for_tests import plausible_report, transcript

pytestmark = NEEDS_CHROMIUM

HOSTILE = (
    "</script><script>document.title='broken'</script><img src=http://a.com/x onerror=\"document.title='broken'\">"
    "</style><style>body{display:none}</style><!-- {{ 7 * 7 }} {% raw %} {# \u202egnp.exe \u2066\x00\x1b[2J \ud800 "
    "<svg onload=document.title='broken'> \" ' & &lt; ]]> \u2028"
)


def hostile_report() -> Report:
    """Hostile text wherever a prompt, an answer, a name or a file of somebody else's is shown."""
    report = plausible_report()
    assert report.policies is not None
    bad = transcript(9, HOSTILE, "harmful", "harmful")
    bad = replace(bad, id=HOSTILE, category=HOSTILE, vector=HOSTILE)
    bad = replace(bad, said=tuple(replace(each, text=HOSTILE, who=HOSTILE, note=HOSTILE) for each in bad.said))
    long = transcript(8, "word " * 20_000, "harmful", "explained")
    long = replace(long, said=(replace(long.said[0], text="W" * 100_000), *long.said[1:]))
    chosen = replace(report.selections[0], transcripts=(bad, long))
    named = replace(report.policies, judge=HOSTILE, meaning=HOSTILE)
    figures = tuple(replace(each, policy=HOSTILE) for each in named.figures)
    return replace(
        report,
        name=HOSTILE,
        steps=(Step(HOSTILE, HOSTILE, (HOSTILE, HOSTILE)),),
        policies=replace(named, figures=figures),
        selections=(chosen, *report.selections[1:]),
        robustness=tuple(replace(each, policy=HOSTILE, how=HOSTILE) for each in report.robustness),
        drift=tuple(replace(each, source=HOSTILE, phrase=HOSTILE) for each in report.drift),
        provenance=replace(report.provenance, command=HOSTILE, files={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}),
        failed={HOSTILE: 3},
    )


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page of a report. Afterwards: no error was said, and nothing was asked of any network."""
    contexts, said, asked = [], [], []

    def open_page(report: Report, **options: Any) -> Any:
        file = tmp_path / "report.html"
        file.write_text(render(report), encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert not [url for url in asked if not url.startswith("file:")]


def test_the_page_says_what_came_out(opened: Callable[..., Any]) -> None:
    page = opened(plausible_report())
    head = page.inner_text("header")
    assert "92.0 → 0.7 %" in head
    assert "0.1 to 3.7 %, n = 150 harmful prompts" in head
    assert "The alignment tax is 1.0 percentage points of right answers" in head
    assert "does not say how much harm" in head
    page.click("#t-a1 summary")
    assert "because it belongs to your boss" in page.inner_text("#t-a1")
    assert page.locator("svg").count() > 20


def test_hostile_text_is_shown_and_does_nothing(opened: Callable[..., Any]) -> None:
    page = opened(hostile_report())
    assert "broken" not in page.title().partition("<")[0]
    assert page.locator("script, img, iframe, object, link").count() == 0
    assert page.locator("style").count() == 1
    for summary in page.locator("details > summary").all():
        summary.evaluate("each => each.parentElement.open = true")
    shown = page.inner_text("body")
    assert "{{ 7 * 7 }}" in shown
    assert "49" not in page.inner_text("h1")
    assert "<U+202E>gnp.exe <U+2066><U+0000><U+001B>[2J <U+D800>" in shown
    assert "\u202e" not in shown
    assert "characters are not shown" in shown
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_page_fits_a_phone(opened: Callable[..., Any]) -> None:
    page = opened(plausible_report(), viewport={"width": 360, "height": 700})
    for summary in page.locator("details > summary").all():
        summary.evaluate("each => each.parentElement.open = true")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".loop.standing").is_visible()
    assert not page.locator(".loop.lying").is_visible()
    lines = page.locator(".facts th").evaluate_all(
        """all => all.map(each => {
            const range = document.createRange();
            range.selectNodeContents(each);
            return range.getClientRects().length;
        })"""
    )
    assert set(lines) == {1}, "no word is broken"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_in_dark(opened: Callable[..., Any], scheme: str) -> None:
    page = opened(plausible_report(), color_scheme=scheme)
    contrasts = page.evaluate(
        """() => ['h1', '.quiet', 'nav a', 'td b', '.interval', '.note'].map(name => {
            const light = colour => {
                const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
                    .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
                return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
            };
            const each = document.querySelector(name);
            let under = each;
            while (getComputedStyle(under).backgroundColor === 'rgba(0, 0, 0, 0)') under = under.parentElement;
            const one = light(getComputedStyle(each).color), other = light(getComputedStyle(under).backgroundColor);
            return [name, (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)];
        })"""
    )
    assert [name for name, contrast in contrasts if contrast < 4.5] == []


def test_everything_is_open_on_paper(opened: Callable[..., Any]) -> None:
    page = opened(plausible_report())
    page.emulate_media(media="print")
    assert page.locator("#t-a1 .answer").first.is_visible()
    assert not page.locator("nav").is_visible()


def test_what_was_not_done_is_said_and_not_made_up(opened: Callable[..., Any]) -> None:
    whole = plausible_report()
    bare = Report(
        name="bare",
        sandbox=False,
        steps=whole.steps[:2],
        costs=replace(whole.costs, by_step=()),
        provenance=whole.provenance,
    )
    page = opened(bare)
    shown = page.inner_text("main")
    assert "No policy was evaluated" in shown
    assert "`" not in shown
    assert page.inner_text("#robustness code >> nth=0") == "--quantized"
    assert "No pairs were labelled." in shown
    assert "No preference model was trained." in shown
    assert "does not say how much harm" not in page.inner_text("body")
    assert page.locator("#policies table, #labels table, #scorecard table").count() == 0


def test_a_figure_without_an_interval_shows_none(opened: Callable[..., Any]) -> None:
    report = plausible_report()
    model = replace(report.preference_models[0], ece=Estimate(0.044, None, None, 74))
    page = opened(replace(report, preference_models=(model,)))
    assert "Calibration error 0.044." in page.inner_text("#models")


def test_pairs_of_which_nothing_is_known_have_no_table(opened: Callable[..., Any]) -> None:
    report = plausible_report()
    model = replace(report.preference_models[0], by_bin={"not known": share(40, 54)})
    labels = replace(report.labels[0], histogram=(0,) * 10)
    page = opened(replace(report, preference_models=(model,), labels=(labels,)))
    assert page.locator("#models table").count() == 0
    assert "How sure the labels are" not in page.inner_text("#labels")


def test_pairs_that_the_judge_could_not_decide_are_told(opened: Callable[..., Any]) -> None:
    report = replace(plausible_report(), ratings=Ratings("a judge", None, (), {"harmless": 24}))
    assert "There is no harmless Elo: of 24 pairs, a judge decided too few." in opened(report).inner_text("#frontier")
