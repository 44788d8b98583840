"""What the terminal says at the end: tables that a newcomer understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from charter.estimate import Estimate, Range
from charter.recipe import Recipe
from charter.run import Outcome
from engine.progress import duration

MADE = {
    "revisions": "prompts with a revised answer, for supervised fine-tuning",
    "preferences": "labelled pairs, for a preference model or DPO",
}


def tell_outcome(outcome: Outcome, console: Console | None = None) -> None:
    """The run's data sets, what was left out and why, what it took, and where to look next."""
    console = console or Console()
    table = Table("data set", "rows", "what it is", title=f"Run folder {outcome.folder.location}", title_justify="left")
    for name, product in outcome.products.items():
        table.add_row(f"data/{name}", f"{product['rows']:,}", MADE[name])
    console.print(table)
    for name, product in outcome.products.items():
        if product["left_out"]:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in product["left_out"].items())
            console.print(f"left out of data/{name}: {reasons} (they stay in stages/)", highlight=False)
    console.print(_cost_table(outcome.cost))
    failed = sum(counts["failed"] for counts in outcome.stages.values())
    if failed:
        console.print(
            f"[bold]{failed:,} rows were set aside.[/] List them: charter failures {outcome.folder.location}",
            highlight=False,
        )


def _cost_table(cost: Mapping[str, Any]) -> Table:
    table = Table("stage", "step", "calls", "prompt tok", "cached", "generated tok", "money", title="What it took")
    table.title_justify = "left"
    for column in table.columns[2:]:
        column.justify = "right"
    for stage, bill in cost.items():
        for step in bill["steps"]:
            prompt = step["prompt_tokens"]
            table.add_row(
                stage,
                step["step"],
                f"{step['calls']:,}",
                f"{prompt:,}",
                f"{step['cached_tokens'] / prompt:.0%}" if prompt else "-",
                f"{step['completion_tokens']:,}",
                "-" if step["money"] is None else f"{step['money']:.2f}",
            )
        table.add_row(stage, "wall time", duration(bill["wall_seconds"]), "", "", "", "", end_section=True)
    return table


def tell_estimate(estimate: Estimate, recipe: Recipe, console: Console | None = None) -> None:
    """What the run will take, with its range, and what that rests on."""
    console = console or Console()
    table = Table("stage", "calls", "prompt tok", "generated tok", "time", "money", title_justify="left")
    table.title = f"Dry run of {recipe.name}: {estimate.prompts:,} prompts (95 % range)"
    for column in table.columns[1:]:
        column.justify = "right"
    for stage in estimate.stages:
        table.add_row(
            stage.stage,
            _range(stage.calls),
            _range(stage.prompt_tokens),
            _range(stage.completion_tokens),
            f"{duration(stage.seconds.value)}\n{duration(stage.seconds.low)} to {duration(stage.seconds.high)}",
            "no price" if stage.money is None else _range(stage.money, decimals=2),
        )
    console.print(table)
    notes: Sequence[str] = (
        f"Measured on {estimate.pilot} prompts spread over the input; starting the models took "
        f"{estimate.start_seconds:.0f} s.",
        "Time is for one worker at the pilot's batch size. A full batch is faster.",
        *([f"{estimate.failed} pilot rows failed; try `charter preview`."] if estimate.failed else []),
    )
    console.print("\n".join(notes), highlight=False)


def _range(value: Range, decimals: int = 0) -> str:
    return f"{value.value:,.{decimals}f}\n{value.low:,.{decimals}f} to {value.high:,.{decimals}f}"
