"""`charter run RECIPE`, and what `revise` and `compare` share with it: execute, then tell."""

from __future__ import annotations

import shlex
import sys

import click

from charter.commands.options import RUNNING, overrides


@click.command()
@click.argument("recipe", type=click.Path())
@RUNNING
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
) -> int:
    """Run RECIPE: prompts and a constitution in, training data out.

    Everything lands in one run folder. A run that was stopped, by Ctrl-C or by a crash, goes on with --resume.
    """
    from charter.recipe import load_recipe

    loaded = load_recipe(recipe, overrides(settings, limit=limit, output=output))
    return carry_out(loaded, resume=resume, retry_failed=retry_failed, dry_run=dry_run, pilot=pilot)


def carry_out(recipe: object, *, resume: bool, retry_failed: bool, dry_run: bool, pilot: int) -> int:
    """Runs or estimates a recipe, prints what came of it, and returns the exit status."""
    from charter.recipe import Recipe
    from charter.run import INTERRUPTED_STATUS, SET_ASIDE_STATUS, check_options, execute, resume_hint
    from charter.telling import tell_estimate, tell_outcome
    from constitution.faults import BadInput, CharterError

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
    try:
        outcome = execute(recipe, resume=resume, retry_failed=retry_failed, command=shlex.join(sys.argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        resume_hint(recipe.folder)
        return INTERRUPTED_STATUS
    except BadInput:
        raise
    except CharterError as error:
        print(f"error: the run stopped: {error}", file=sys.stderr)
        resume_hint(recipe.folder)
        return 1
    except Exception:  # a fault of ours: its trace is worth reporting, and the rows are safe
        resume_hint(recipe.folder)
        raise
    tell_outcome(outcome)
    return outcome.exit_status
