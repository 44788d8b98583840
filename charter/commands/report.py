"""`charter report`: the page and the figures of what a folder holds."""

from __future__ import annotations

import click


@click.command()
@click.argument("run_folder", metavar="RUN")
def report(run_folder: str) -> int:
    """Write report.html and report.json into RUN: the folder of a run, a training, an evaluation or a loop.

    The page opens without a network. What RUN has not done is left out of it.
    """
    from charter.reporting import write_report

    click.echo(f"wrote {write_report(run_folder)}")
    return 0
