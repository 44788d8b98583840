"""`charter card`: the card of a run's data or of a trained model, written again."""

from __future__ import annotations

import click

from charter.commands.export import LICENCE


@click.command()
@click.argument("folder")
@LICENCE
def card(folder: str, licence: str | None) -> int:
    """Write the card of FOLDER again: a run's README.md, or that of a training's model/.

    A run and an export write theirs themselves; this adds the licence, and what was measured since.
    """
    from charter.card import run_card
    from charter.model_card import is_training_folder, model_card
    from constitution.faults import BadInput, Fault
    from engine.pairs import is_run_folder
    from engine.storage import Folder

    place = Folder(folder)
    if is_training_folder(place):
        name, made = "model/README.md", "figures"
    elif is_run_folder(place):
        name, made = "README.md", "products"
    else:
        hint = "name the folder of a run or of a training; an export's card is written with it"
        raise BadInput(Fault("it is neither a run nor a training", where=folder, hint=hint))
    if made not in place.read_json("manifest.json"):
        raise BadInput(Fault("it is not finished", where=folder, hint="go on with --resume, then ask for its card"))
    text = model_card(place, licence) if name.startswith("model/") else run_card(place, licence)
    place.write(name, text.encode())
    click.echo(f"the card is {place.child(name).location}")
    return 0
