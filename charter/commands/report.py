"""`charter report`: the page and the figures of what a folder holds."""

from __future__ import annotations

import click


@click.command()
@click.argument("run_folder", metavar="RUN")
def report(run_folder: str) -> int:
    """Write report.html and report.json into RUN: the folder of a run, a training, an evaluation or a loop.

    The page opens without a network. What RUN has not done is left out of it.
    """
    from charter.reporting import PAGE, write_report
    from engine.storage import Folder

    folder = Folder(run_folder)
    write_report(folder)
    click.echo(f"wrote {folder.path(PAGE)}")
    return 0
