"""The page in a real browser: everything a user does, and texts that try to break out of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.decisions import read_decisions
from engine.pairs import Pair
from evaluation.map.making import make_map
from evaluation.map.sampling import take_sample
from tests.evaluation.chromium_for_tests import NEEDS_CHROMIUM
from tests.evaluation.map.pairs_for_tests import pair, pairs_about_subjects

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = NEEDS_CHROMIUM

HOSTILE = (
    "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'><!-- {{ 7 * 7 }} "
    "\u202egnp.exe \u2066\x00\x1b[2J \u200b\ud7ff 🎉 \u2028 </textarea></style><svg onload=window.broken=1>"
)
PAIRS = [
    *pairs_about_subjects(each=20),
    pair("What colour is the sky?", "The sky over the sea is blue today.", "The sky over the sea is green today.", 60),
    pair(HOSTILE, f"{HOSTILE} chosen", f"{HOSTILE} rejected", 61, category=HOSTILE, source=HOSTILE, pair_id="hostile"),
    pair("Say it long.", "a very long answer " * 55_000, "short", 62),
]
ALIKE, BREAKING, LONG = 60, 61, 62
FLAGS = {PAIRS[3].pair_id: {"both_bad": "as propositions say"}, "hostile": {"template_leak": HOSTILE}}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sample = take_sample(PAIRS, FLAGS, most=1000, seed=0)
    html = make_map(HOSTILE, HOSTILE, sample, FLAGS, {"both_bad": "Both are bad."}, seed=0, tell=lambda text: None)
    path = tmp_path_factory.mktemp("map") / "map.html"
    path.write_text(html, encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page, its texts shown unless `veiled`. Afterwards: no error, and nothing was asked of any network."""
    contexts, said, asked = [], [], []

    def open_page(address: str = "", *, veiled: bool = False, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{file.as_uri()}{address}")
        page.click("#keep-veil" if veiled else "#show-texts")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said
    assert not [url for url in asked if not url.startswith(("file:", "blob:"))]


def place(page: Any, number: int) -> tuple[float, float]:
    box = page.locator("#overlay").bounding_box()
    x, y = page.evaluate(f"[cloud.screenX({number}), cloud.screenY({number})]")
    return box["x"] + x, box["y"] + y


def answer(made: Pair, side: str) -> str:
    return str(getattr(made, side)[0]["content"])


def lasso_around_everything(page: Any) -> None:
    box = page.locator("#overlay").bounding_box()
    left, top, right, bottom = box["x"] + 3, box["y"] + 3, box["x"] + box["width"] - 3, box["y"] + box["height"] - 3
    page.mouse.move(left, top)
    page.keyboard.down("Shift")
    page.mouse.down()
    for corner in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(*corner)
    page.mouse.up()
    page.keyboard.up("Shift")


def test_pointing_at_a_point_shows_its_pair_side_by_side(opened: Callable[..., Any]) -> None:
    page = opened()
    page.mouse.move(*place(page, 3))
    panel = page.locator("#pair")
    sync_api.expect(panel.locator("h2")).to_have_text(f"Pair 4 of {len(PAIRS)}")
    assert panel.locator(".turns .text").last.inner_text() == PAIRS[3].prompt[0]["content"]
    assert panel.locator(".chosen .text").inner_text() == answer(PAIRS[3], "chosen")
    assert panel.locator(".rejected .text").inner_text() == answer(PAIRS[3], "rejected")
    assert panel.locator(".flag").inner_text() == "both_bad as propositions say"
    assert "bicycles" in panel.locator(".facts").inner_text()
    chosen, rejected = (panel.locator(f".{side}").bounding_box() for side in ("chosen", "rejected"))
    assert abs(chosen["y"] - rejected["y"]) < 2
    assert chosen["x"] + chosen["width"] <= rejected["x"]


def test_words_that_differ_are_marked(opened: Callable[..., Any]) -> None:
    page = opened(f"#pair={PAIRS[ALIKE].pair_id}")
    assert page.locator(".chosen mark").all_inner_texts() == ["blue"]
    assert page.locator(".rejected mark").all_inner_texts() == ["green"]


def test_texts_are_veiled_until_asked_for(opened: Callable[..., Any]) -> None:
    page = opened(f"#pair={PAIRS[3].pair_id}", veiled=True)
    for word in (answer(PAIRS[3], "chosen").split()[0], PAIRS[3].prompt[0]["content"].split()[2]):
        assert word not in page.locator("#pair").inner_text()
    assert "blur" in page.locator(".chosen .text").evaluate("node => getComputedStyle(node).filter")
    assert "Region 1" in page.locator("#regions").inner_text()
    page.keyboard.press("b")
    assert page.locator(".chosen .text").inner_text() == answer(PAIRS[3], "chosen")
    assert "Region 1" not in page.locator("#regions").inner_text()


def test_searching_lights_the_pairs_that_hold_every_word(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("/")
    page.keyboard.type("SKY sea")
    sync_api.expect(page.locator("#found")).to_have_text(f"1 of {len(PAIRS)}")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#pair h2")).to_have_text(f"Pair {ALIKE + 1} of {len(PAIRS)}, held")
    page.fill("#search", '"sky sea"')
    sync_api.expect(page.locator("#found")).to_have_text(f"0 of {len(PAIRS)}")
    page.keyboard.press("Escape")
    sync_api.expect(page.locator("#found")).to_be_hidden()


def test_the_legend_counts_every_value_and_picks_one_out(opened: Callable[..., Any]) -> None:
    page = opened()
    page.select_option("#colour", "category")
    rows = page.locator("#legend button").all_inner_texts()
    assert sorted(int(row.split("\n")[-1]) for row in rows) == [1, 2, 20, 20, 20]
    page.locator("#legend button", has_text="soup").click()
    sync_api.expect(page.locator("#found")).to_have_text(f"20 of {len(PAIRS)}")
    assert page.evaluate("Array.from(state.lit.keys()).filter((i) => state.lit[i])") == list(range(20, 40))


def test_links_lead_to_a_pair_and_to_a_region(opened: Callable[..., Any]) -> None:
    page = opened("#pair=hostile")
    sync_api.expect(page.locator("#pair h2")).to_have_text(f"Pair {BREAKING + 1} of {len(PAIRS)}, held")
    page = opened("#region=2")
    members = page.evaluate("pairs.region.filter((region) => region === 1).length")
    sync_api.expect(page.locator("#found")).to_have_text(f"{members} of {len(PAIRS)}")
    page.mouse.click(*place(page, page.evaluate("pairs.region.indexOf(1)")))
    held = page.evaluate("pairs.id[state.held]")
    assert page.url.endswith(f"#pair={held}")
    page.goto(f"{page.url.split('#')[0]}#pair=nobody")
    sync_api.expect(page.locator("#said")).to_have_text("This map has no pair nobody")


def test_a_lasso_becomes_decisions_that_filter_reads(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened()
    page.select_option("#colour", "category")
    page.locator("#legend button", has_text="stars").click()
    lasso_around_everything(page)
    sync_api.expect(page.locator("#selected")).to_have_text("20 pairs selected")
    page.click("[data-decide=drop]")
    page.click("#unselect")
    page.evaluate("hold(placeOf.get('hostile'))")
    page.keyboard.press("r")
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "decisions.jsonl")
    stars = {each.pair_id: "drop" for each in PAIRS[40:60]}
    assert read_decisions(str(tmp_path / "decisions.jsonl")) == stars | {"hostile": "relabel"}
    first = (tmp_path / "decisions.jsonl").read_text(encoding="utf-8").split("\n")[0]
    assert json.loads(first) == {"pair_id": PAIRS[40].pair_id, "decision": "drop"}

    again = opened()
    again.set_input_files("#file", tmp_path / "decisions.jsonl")
    sync_api.expect(again.locator("#decided")).to_have_text("drop 20, relabel 1 (21 loaded)")


def test_keys_go_from_pair_to_pair_and_back(opened: Callable[..., Any]) -> None:
    page = opened()
    page.focus("#overlay")
    page.keyboard.press("ArrowRight")
    first = page.evaluate("state.held")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("state.held")
    assert first >= 0
    assert page.evaluate(f"cloud.xs[{second}] > cloud.xs[{first}]")
    page.keyboard.press("n")
    assert page.evaluate("state.held") == (second + 1) % len(PAIRS)
    page.keyboard.press("k")
    assert page.evaluate("state.decisions.get(state.held)") == "keep"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "pair"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "overlay"
    page.keyboard.press("Escape")
    assert page.evaluate("state.held") == -1
    assert page.url.endswith("map.html")


def test_hostile_text_is_shown_and_does_nothing(opened: Callable[..., Any], file: Path) -> None:
    page = opened("#pair=hostile")
    assert page.evaluate("typeof window.broken") == "undefined"
    shown = page.locator(".chosen .text").inner_text()
    assert "</script><script>window.broken = 1</script>" in shown
    assert "{{ 7 * 7 }}" in shown
    for code in ("U+202E", "U+2066", "U+0000", "U+001B", "U+200B"):
        assert code in shown
    assert "\u202e" not in page.locator("body").inner_text()
    assert page.locator("#pair img, #pair script, #pair svg, #legend img").count() == 0
    assert page.evaluate("document.scripts.length") == file.read_text(encoding="utf-8").count("<script")
    page.select_option("#colour", "category")
    page.locator("#legend button", has_text="script").click()
    sync_api.expect(page.locator("#found")).to_have_text(f"1 of {len(PAIRS)}")
    assert page.evaluate("typeof window.broken") == "undefined"


def test_a_megabyte_is_cut_and_the_page_says_so(opened: Callable[..., Any], file: Path) -> None:
    assert file.stat().st_size < 400_000
    page = opened(f"#pair={PAIRS[LONG].pair_id}")
    left_out = len(answer(PAIRS[LONG], "chosen")) - 8000
    assert f"{left_out:,} characters not in this page" in page.locator(".chosen .text").inner_text()
    assert f"{len(answer(PAIRS[LONG], 'chosen')):,} characters" in page.locator(".chosen h3").inner_text()
    page.locator(".about summary").click()
    assert "1 are longer than 8,000 characters" in page.locator("#about").inner_text()


def test_a_phone_shows_everything_without_scrolling_sideways(opened: Callable[..., Any]) -> None:
    page = opened(f"#pair={PAIRS[ALIKE].pair_id}", is_mobile=True, has_touch=True)
    page.set_viewport_size({"width": 375, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.touchscreen.tap(*place(page, 5))
    sync_api.expect(page.locator("#pair h2")).to_contain_text("held")
    chosen, rejected = (page.locator(f".{side}").bounding_box() for side in ("chosen", "rejected"))
    assert rejected["y"] >= chosen["y"] + chosen["height"]
