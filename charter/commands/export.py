"""`charter export`: data in the form that a trainer's own loader reads; `charter card`: the card of what was made."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.exporters.export import ExportReport

LICENCE = click.option("--license", "licence", metavar="ID", help="The card's licence, as the hub names it.")
SECONDS_TOLD = 5.0


@click.command()
@click.argument("source")
@click.option(
    "--format",
    "format_name",
    required=True,
    help="trl, openrlhf, verl, nemo-rl, open-instruct, axolotl, llama-factory, alignment-handbook, hugging-face, "
    "parquet, jsonl, argilla or annotated-pairs.",
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["preference", "reward", "sft", "prompts", "unpaired"]),
    multiple=True,
    default=("preference",),
    show_default=True,
    help="What to export; may be given several times.",
)
@click.option("--output", metavar="FOLDER", help="Where to; a folder of the run where it is not given.")
@click.option("--test", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Share of prompts to hold out.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which prompts are held out follows from it.")
@click.option(
    "--decontaminate",
    multiple=True,
    metavar="FILE",
    help="Leave out rows that hold a prompt of this evaluation; may be given several times.",
)
@click.option(
    "--margin",
    type=click.Choice(["given", "log-odds"]),
    help="Add a margin for trainers that read one: the source's own, or the label's log-odds.",
)
@click.option("--allow-leaks", is_flag=True, help="Keep answers that hold words of a template.")
@LICENCE
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in the folder.")
def export(
    source: str, format_name: str, kinds: tuple[str, ...], output: str | None, licence: str | None, **given: Any
) -> int:
    """Write SOURCE in the form that a trainer reads: a run, or any preference file.

    Rows that would poison a trainer are left out and counted. The folder holds the data, a card, and what the trainer
    is told.
    """
    from charter.card import finished_facts
    from charter.export_card import export_card
    from engine.exporters.export import ExportSettings
    from engine.exporters.export import export as write
    from engine.storage import Folder

    settings = ExportSettings(format=format_name, kinds=tuple(dict.fromkeys(kinds)), **given)  # type: ignore[arg-type]
    folder = Path(output) if output else _folder(source, format_name, settings.kinds)
    facts = finished_facts(Folder(source))
    report = write(source, settings, folder, card=lambda made: export_card(made, facts, licence), told=_Progress().told)
    _tell(report, folder)
    return 0


def _folder(source: str, format_name: str, kinds: tuple[str, ...]) -> Path:
    """`RUN/exports/trl-preference`, or `NAME-trl-preference` here for what is no run on this machine."""
    from engine.pairs import is_run_folder
    from engine.storage import Folder

    name = "-".join((format_name, *kinds))
    if is_run_folder(Folder(source)) and Folder(source).is_local:
        return Path(source) / "exports" / name
    return Path(f"{Path(source).name.partition('.')[0] or 'data'}-{name}")


class _Progress:
    """A line now and then, on standard error."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def told(self, kind: str, rows: int) -> None:
        if time.monotonic() - self.last > SECONDS_TOLD:
            self.last = time.monotonic()
            print(f"{kind}: {rows:,} rows read", file=sys.stderr)


def _tell(report: ExportReport, folder: Path) -> None:
    from charter.printing import printable
    from engine.exporters.export import usage

    for kind, found in report.kinds.items():
        click.secho(f"{report.title}, {kind}", bold=True)
        for file in found.files:
            click.echo(f"  {file.rows:,} rows  {folder / file.name}")
        for reason, count in found.left_out.items():
            click.echo(f"  {count:,} left out: {printable(reason)}")
        for note in found.notes:
            click.echo(f"  note: {note}")
        for line in printable(usage(found, str(folder))).splitlines():
            click.echo(f"  > {line}")
    click.echo(f"the card is {folder / 'README.md'}")
