"""What the terminal says of policies: tables that a newcomer understands."""

from __future__ import annotations

from pydantic import TypeAdapter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.reporting import PAGE
from engine.printable import printable
from engine.storage import Folder
from evaluation.estimates import Estimate
from evaluation.judgements import Group
from evaluation.report.content import Evaluation, Policies, PolicyFigures, Ratings, Stress
from evaluation.report.page import FIGURES, chance, number, percent, span, tax_of

STRESSED = ("harmful_rate", "helpful_rate", "false_refusal_rate")
TOLD: dict[str, Group] = {
    "harmful_rate": "harmful",
    "helpful_rate": "harmless",
    "false_refusal_rate": "harmless",
    "evasive_rate": "harmful",
}
"""Figure: the prompts that it is a share of."""


def tell_evaluation(folder: Folder, console: Console | None = None) -> None:
    """The policies side by side, and where the report is."""
    console = console or Console()
    found = TypeAdapter(Evaluation).validate_python(folder.read_json("evaluation.json"))
    tell_policies(found.policies, found.ratings, console)
    for stress in found.robustness:
        who = printable(f"{stress.policy}, {stress.how}")
        console.print(f"{who}: {_stress(stress)}", highlight=False, markup=False)
    tell_page(folder, console)


def tell_policies(policies: Policies, ratings: Ratings | None, console: Console) -> None:
    """A line a policy and temperature T, each figure above its 95 % interval, and who judged."""
    table = Table("policy", box=SIMPLE_HEAD)
    for key, group in TOLD.items():
        count = policies.prompts.get(group, 0)
        table.add_column(f"{FIGURES[key][0]}\n[dim]of {count:,} {group}[/]", justify="right")
    for each in (*policies.figures, *policies.sampled):
        table.add_row(_called(each), *(_cell(getattr(each, key)) for key in TOLD))
    console.print(table)
    if ratings is not None:
        if ratings.axes:
            console.print(_elo_table(ratings))
        for axis, pairs in ratings.unrated.items():
            told = printable(f"No {axis} Elo: of {pairs:,} pairs, {ratings.judge} decided too few.")
            console.print(told, highlight=False, markup=False)
    judged = printable(f"Judged by {policies.judge}. {policies.meaning}")
    console.print(judged, highlight=False, markup=False)
    said = tax_of(policies)
    if said:
        console.print(said, highlight=False, markup=False)


def tell_page(folder: Folder, console: Console) -> None:
    """Where the report is."""
    console.print(f"report: {folder.path(PAGE)}", highlight=False, markup=False, soft_wrap=True)


def _called(each: PolicyFigures) -> Text:
    how = "greedy" if each.temperature == 0 else f"at T = {each.temperature:g}"
    return Text.assemble(printable(each.policy), (f"\n{how}", "dim"))


def _cell(estimate: Estimate) -> str:
    return f"{percent(estimate)}\n[dim]{span(estimate)}[/]"


def _stress(each: Stress) -> str:
    told = []
    for key, found in each.figures.items():
        if key in STRESSED:
            p = chance(found.p_value)
            rates = f"{FIGURES[key][0].lower()} {percent(found.first)} -> {percent(found.second)}"
            told.append(f"{rates}, n = {found.first.n:,}, p {p if p.startswith('<') else f'= {p}'}")
    return "; ".join(told)


def _elo_table(ratings: Ratings) -> Table:
    headings = [f"{axis.axis}\n[dim]{axis.anchor} has 0[/]" for axis in ratings.axes]
    table = Table("Elo", *headings, box=SIMPLE_HEAD)
    for name in ratings.axes[0].ratings:
        cells = [
            "0"
            if name == axis.anchor
            else f"{number(axis.ratings[name], signed=True)}  [dim]{span(axis.ratings[name], 0, signed=True)}[/]"
            for axis in ratings.axes
        ]
        table.add_row(Text(printable(name)), *cells)
    return table
