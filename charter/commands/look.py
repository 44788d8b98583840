"""Commands that look: `validate` a recipe, `preview` a few rows, list a run's `failures`."""

from __future__ import annotations

import click

from charter.commands.options import SETTINGS, overrides


@click.command()
@click.argument("recipe", type=click.Path())
@SETTINGS
def validate(recipe: str, settings: tuple[str, ...]) -> int:
    """Check RECIPE and everything it names: files, constitution, templates, models, prompts. Loads no weights."""
    from charter.recipe import check_cluster, check_recipe, load_recipe
    from charter.reuse import reuse_of
    from charter.run import check_options
    from engine.inputs import check_prompts

    loaded = load_recipe(recipe, overrides(settings))
    constitution, prompts = check_recipe(loaded)
    summary = check_prompts(loaded.prompts)
    check_options(loaded, prompts)
    check_cluster(loaded.ray.address)
    reuse_of(loaded, constitution)
    click.echo(f"recipe        {loaded.name}: {', '.join(s for s in ('revise', 'compare') if getattr(loaded, s))}")
    click.echo(f"constitution  {constitution.name} {constitution.version}, hash {constitution.hash}")
    click.echo(f"prompts       {summary.prompts:,}, {summary.multi_turn:,} of them with several turns")
    for name, spec in loaded.models.items():
        click.echo(f"model         {name}: {spec.called} on {spec.backend}")
    click.echo(f"run folder    {loaded.folder.location}")
    click.echo("all good")
    return 0


@click.command()
@click.argument("recipe", type=click.Path())
@click.option("--rows", type=click.IntRange(min=1), default=5, show_default=True, help="Prompts to show.")
@click.option("--full", is_flag=True, help="Repeat messages that were shown before, such as few-shots, and long ones.")
@SETTINGS
def preview(recipe: str, rows: int, full: bool, settings: tuple[str, ...]) -> int:
    """Run the first prompts of RECIPE and show every message as it was sent, every answer and every verdict.

    Nothing is written. Messages that were shown before are folded, and the middle of very long ones, unless --full is
    given. Exit status 3 where a prompt failed.
    """
    from charter.recipe import check_recipe, load_recipe
    from charter.run import check_options
    from charter.showing import Shown, show_trial
    from charter.trial import first_prompts, try_prompts
    from engine.inputs import check_prompts

    loaded = load_recipe(recipe, overrides(settings))
    _, prompts = check_recipe(loaded)
    check_prompts(loaded.prompts)
    check_options(loaded, prompts)
    failed = False
    shown = None if full else Shown()
    for row in try_prompts(loaded, first_prompts(loaded, rows), together=False):
        show_trial(row, shown)
        failed |= row.error is not None
    return 3 if failed else 0


@click.command()
@click.argument("run_folder")
@click.option("--limit", type=click.IntRange(min=1), help="Show only the first so many rows.")
def failures(run_folder: str, limit: int | None) -> int:
    """List the rows that RUN_FOLDER's stages set aside: what went wrong, and where the rows came from.

    Exit status 3 where there are any.
    """
    from charter.run import STAGES
    from charter.telling import failures_alike
    from constitution.faults import BadInput, Fault
    from engine.storage import Folder

    folder = Folder(run_folder)
    if not folder.exists("recipe.yaml"):
        raise BadInput(Fault("it is no run folder", where=run_folder, hint="name the folder that a run has made"))
    count = 0
    for stage in STAGES:
        for error, rows in failures_alike(folder, stage).items():
            listed = rows if limit is None else rows[: max(0, limit - count)]
            count += len(rows)
            if listed:
                alike = f" ({len(rows):,} rows)" if len(rows) > 1 else ""
                click.echo("\n".join([f"{stage}  {error}{alike}", *(f"    {each}" for each in listed)]))
    words = "row" if count == 1 else "rows"
    click.echo(f"{count:,} {words} set aside" + (f", {limit:,} shown" if limit and count > limit else ""))
    if count:
        click.echo("try them again: the run's command with --resume --retry-failed")
    return 3 if count else 0
