"""`charter push`: an export or a model to the Hugging Face hub, after showing what goes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

FILES_SHOWN = 20


@click.command()
@click.argument("folder", type=click.Path())
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--public", is_flag=True, help="Let everybody see it; it is private otherwise.")
@click.option("--message", default="Made by Charter", show_default=True, help="Of the commit.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would go, and send nothing. Needs no token.")
def push(folder: str, repository: str, public: bool, message: str, yes: bool, dry_run: bool) -> int:
    """Send FOLDER, an export or a trained model/, to the Hugging Face hub as OWNER/NAME.

    Shows every file that would go, and asks. The token comes from HF_TOKEN, and is neither printed nor stored.
    """
    from charter.hub import hub, parcel_of
    from charter.hub import push as send
    from charter.printing import printable
    from constitution.faults import BadInput, Fault

    parcel = parcel_of(Path(folder))
    seen = "everybody can see it" if public else "private"
    click.echo(f"{parcel.type} {printable(repository)} on the hub, {seen}:")
    for name, size in parcel.files[:FILES_SHOWN]:
        click.echo(f"  {size:>14,} bytes  {printable(name)}")
    if len(parcel.files) > FILES_SHOWN:
        click.echo(f"  … and {len(parcel.files) - FILES_SHOWN:,} files more")
    click.echo(f"  {parcel.size:>14,} bytes in {len(parcel.files):,} files")
    for name in parcel.left_here:
        click.echo(f"  stays here: {printable(name)}")
    if "README.md" not in dict(parcel.files):
        click.echo("  it has no card (README.md): `charter card` writes one")
    if dry_run:
        return 0
    api = hub()
    click.echo(f"to {api.endpoint}")
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput(Fault("nobody is there to be asked", where="push", hint="say --yes"))
        click.confirm("Send it?", abort=True)
    click.echo(f"sent: {send(api, parcel, repository, public=public, message=message)}")
    return 0
