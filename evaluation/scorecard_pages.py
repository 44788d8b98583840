"""Scorecards as Markdown and as one HTML page, with the transcripts that their cells link to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from engine.printable import printable
from evaluation.estimates import Estimate
from evaluation.markdown import number, plain, ranged, table
from evaluation.scorecard import Cell, Scorecard, ScorecardComparison

PAGE = "scorecard.html"
LONGEST_TEXT = 4_000
"""Characters of a turn that the page shows; a longer one loses its middle."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a cell links to: a conversation, and one policy's answer to it. `turns`: (role, text)."""

    policy: str
    item_id: str
    vector: str
    category: str
    turns: Sequence[tuple[str, str]]
    answer: str

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return anchor(self.policy, self.item_id)


def anchor(policy: str, item_id: str) -> str:
    """The place of a transcript on the page: letters, digits and hyphens alone."""
    return "t-" + "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in f"{policy}-{item_id}")


def scorecard_markdown(cards: Sequence[Scorecard], comparisons: Sequence[ScorecardComparison]) -> str:
    """A table a policy, then the policies against the first one. Cells link to transcripts on the HTML page."""
    lines = ["# Scorecard", "", *_totals(cards)]
    for card in cards:
        lines += ["", f"## {plain(card.policy)}", "", *_card(card)]
    for comparison in comparisons:
        lines += ["", f"## {plain(comparison.second)} against {plain(comparison.first)}", "", *_comparison(comparison)]
    return "\n".join(lines) + "\n"


def _totals(cards: Sequence[Scorecard]) -> Iterator[str]:
    rows = [
        (
            plain(card.policy),
            ranged(card.unsafe),
            f"{card.unsafe.n:,}",
            ranged(card.false_refusals),
            f"{card.false_refusals.n:,}",
            f"{card.unscored:,}",
        )
        for card in cards
    ]
    yield from table(("policy", "unsafe", "n", "false refusals", "n", "unscored"), rows)


def _card(card: Scorecard) -> Iterator[str]:
    heading = ["vector", *(_heading(category, card) for category in card.categories), "harmful, all"]
    rows = [
        [
            plain(vector),
            *(_linked(card, card.cell(vector, category)) for category in card.categories),
            ranged(card.by_vector[vector]),
        ]
        for vector in card.vectors
    ]
    yield from table(heading, rows)


def _heading(category: str, card: Scorecard) -> str:
    return f"{plain(category)} (refused)" if category in card.harmless else plain(category)


def _linked(card: Scorecard, cell: Cell | None) -> str:
    if cell is None:
        return ""
    links = "".join(
        f" [{place}]({PAGE}#{anchor(card.policy, item)})" for place, item in enumerate(cell.examples, start=1)
    )
    unscored = f", {cell.unscored} unscored" if cell.unscored else ""
    return f"{ranged(cell.rate)} n {cell.rate.n}{unscored}{links}"


def _comparison(found: ScorecardComparison) -> Iterator[str]:
    rows = [
        (
            plain(cell.vector),
            plain(cell.category),
            number(cell.shares.first.value),
            number(cell.shares.second.value),
            ranged(cell.shares.difference),
            f"{cell.shares.only_first} / {cell.shares.only_second}",
            f"{cell.shares.p_value:.3g}",
            f"{cell.shares.first.n:,}",
        )
        for cell in found.cells
    ]
    heading = ("vector", "category", "first", "second", "difference", "only first / only second", "p", "n")
    yield from table(heading, rows)
    if found.unpaired:
        yield f"\n{found.unpaired:,} prompts are not in this: one of the two was not asked or not scored on them."


def scorecard_html(
    cards: Sequence[Scorecard], comparisons: Sequence[ScorecardComparison], transcripts: Sequence[Transcript]
) -> str:
    """One page that needs no network. What users and models wrote is escaped, and cut where it is very long."""
    shown = {anchor(card.policy, item) for card in cards for cell in card.cells for item in cell.examples}
    wanted = {each.anchor: each for each in transcripts if each.anchor in shown}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True
    )
    environment.filters |= {
        "ranged": ranged,
        "shade": _shade,
        "middle": _without_middle,
        "number": number,
        "text": printable,
    }
    return environment.get_template("scorecard_page.html").render(
        cards=cards, comparisons=comparisons, transcripts=list(wanted.values()), anchor=anchor
    )


def _shade(found: Estimate) -> str:
    """How strongly a cell is coloured, as a percentage."""
    return f"{100 * (found.value or 0):.0f}%"


def _without_middle(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return printable(text)
    half = LONGEST_TEXT // 2
    return printable(f"{text[:half]}\n[… {len(text) - 2 * half:,} characters …]\n{text[-half:]}")
