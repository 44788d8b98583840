"""What the terminal says after an evaluation: one table that a newcomer understands."""

from __future__ import annotations

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.printable import printable
from engine.storage import Folder
from evaluation.estimates import Estimate
from evaluation.report.content import Evaluation, Ratings, Stress
from evaluation.report.page import FIGURES, interval, number, percent, tax_of

STRESSED = ("harmful_rate", "helpful_rate", "false_refusal_rate")
TOLD = ("harmful_rate", "helpful_rate", "false_refusal_rate", "evasive_rate", "distinct_4")


def tell_evaluation(folder: Folder, console: Console | None = None) -> None:
    """The policies side by side, each figure with its interval, and where the report is."""
    console = console or Console()
    found = TypeAdapter(Evaluation).validate_python(folder.read_json("evaluation.json"))
    policies = found.policies
    table = Table("")
    for each in policies.figures:
        table.add_column(Text(printable(each.policy)), justify="right")
    for key in TOLD:
        name, of = FIGURES[key]
        table.add_row(f"{name}\n[dim]{of}[/]", *(_cell(getattr(each, key)) for each in policies.figures))
    if found.ratings is not None:
        _add_elo(table, found.ratings, [each.policy for each in policies.figures])
    console.print(table)
    console.print(f"Judged by {policies.judge}. {policies.meaning}", highlight=False, markup=False)
    for stress in found.robustness:
        who = printable(f"{stress.policy}, {stress.how}")
        console.print(f"{who}: {_stress(stress)}", highlight=False, markup=False)
    said = tax_of(policies)
    if said:
        console.print(said, highlight=False, markup=False)
    console.print(f"report: {folder.location}/report.html", highlight=False, markup=False)


def _cell(estimate: Estimate) -> str:
    return f"{percent(estimate)}\n[dim]{interval(estimate)}[/]"


def _stress(each: Stress) -> str:
    told = [(FIGURES[key][0].lower(), found) for key, found in each.figures.items() if key in STRESSED]
    return printable(
        "; ".join(
            f"{name} {percent(found.first)} -> {percent(found.second)}, n = {found.first.n:,}, p = {found.p_value:.3f}"
            for name, found in told
        )
    )


def _add_elo(table: Table, ratings: Ratings, names: list[str]) -> None:
    for axis in ratings.axes:
        cells = [
            "0"
            if name == axis.anchor
            else f"{number(axis.ratings[name], signed=True)}\n[dim]{interval(axis.ratings[name], 0, signed=True)}[/]"
            for name in names
        ]
        table.add_row(f"Elo, {axis.axis}\n[dim]against {axis.anchor}[/]", *cells)
