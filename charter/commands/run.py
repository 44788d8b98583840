"""`charter run RECIPE`, and what `revise` and `compare` share with it: execute, then tell."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import click

from charter.commands.options import RUNNING, overrides

if TYPE_CHECKING:
    from constitution.yaml_files import Document


@click.command()
@click.argument("recipe", type=click.Path())
@RUNNING
@click.option("--again", is_flag=True, help="Steps only: make those that changed, and what follows from them, again.")
def run(
    recipe: str,
    limit: int | None,
    output: str | None,
    settings: tuple[str, ...],
    *,
    resume: bool,
    retry_failed: bool,
    dry_run: bool,
    pilot: int,
    again: bool,
) -> int:
    """Run RECIPE: prompts and a constitution in, training data out; or every step of a loop, models included.

    Everything lands in one run folder. A run that was stopped, by Ctrl-C or by a crash, goes on with --resume.
    """
    from charter.loop import is_loop
    from charter.recipe import recipe_of
    from constitution.faults import BadInput, Fault
    from constitution.yaml_files import read_document

    document = read_document(recipe, overrides(settings, limit=limit, output=output))
    if is_loop(document):
        if limit is not None or retry_failed:
            hint = "set it for a step: --set steps.NAME.run.limit=…"
            raise BadInput(Fault("a file of steps takes neither --limit nor --retry-failed", where=recipe, hint=hint))
        return _carry_out_loop(document, resume=resume, again=again, dry_run=dry_run)
    if again:
        raise BadInput(Fault("--again is for files of steps", where=recipe, hint="name another --output"))
    return carry_out(recipe_of(document), resume=resume, retry_failed=retry_failed, dry_run=dry_run, pilot=pilot)


def _carry_out_loop(document: Document, *, resume: bool, again: bool, dry_run: bool) -> int:
    """Makes or lists the steps of a loop, and returns the exit status."""
    from charter.loop import check_loop, loop_of, make_loop, steps_of
    from charter.run import resume_hint
    from charter.stopping import resumable
    from charter.telling import tell_loop, tell_steps

    loop = loop_of(document)
    steps = steps_of(loop, document)
    if dry_run:
        check_loop(loop, steps)
        tell_steps(loop, steps)
        return 0

    def work() -> int:
        made = make_loop(loop, steps, resume=resume, again=again, command=shlex.join(sys.argv))
        tell_loop(made)
        return made.exit_status

    return resumable("the loop", work, lambda: resume_hint(loop.folder))


def carry_out(recipe: object, *, resume: bool, retry_failed: bool, dry_run: bool, pilot: int) -> int:
    """Runs or estimates a recipe, prints what came of it, and returns the exit status."""
    from charter.recipe import Recipe
    from charter.run import SET_ASIDE_STATUS, check_options, execute, resume_hint
    from charter.stopping import resumable
    from charter.telling import tell_estimate, tell_outcome

    assert isinstance(recipe, Recipe)
    if dry_run:
        from charter.estimate import estimate
        from charter.recipe import check_recipe
        from engine.inputs import check_prompts

        _, asking = check_recipe(recipe)
        check_prompts(recipe.prompts)
        check_options(recipe, asking)
        print("trying a few prompts in every stage", file=sys.stderr)
        found = estimate(recipe, pilot)
        tell_estimate(found, recipe)
        return SET_ASIDE_STATUS if found.unknown else 0

    def work() -> int:
        outcome = execute(recipe, resume=resume, retry_failed=retry_failed, command=shlex.join(sys.argv))
        tell_outcome(outcome)
        return outcome.exit_status

    return resumable("the run", work, lambda: resume_hint(recipe.folder))
