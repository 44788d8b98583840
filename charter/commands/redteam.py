"""`charter redteam`: seed prompts pushed in several ways, and further prompts that a model writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charter.commands.options import API_KEY, BACKEND, shared

if TYPE_CHECKING:
    from charter.redteaming import Wanted
    from engine.backends.spec import ModelSpec
    from engine.records import Prompt
    from evaluation.redteam import Push

PUSHING = shared(
    click.option(
        "--vector", "vectors", multiple=True, metavar="NAME", help="Only this vector, or `none`; may be given again."
    ),
    click.option("--vectors", "folder", metavar="FOLDER", help="Vectors of your own, NAME.jinja, in place of ours."),
    click.option("--escalate", is_flag=True, help="Push in several turns as well, under each escalation."),
    click.option("--escalations", metavar="FOLDER", help="Escalations of your own, NAME.yaml; implies --escalate."),
)
WRITING = shared(
    click.option("--expand", type=click.IntRange(min=1), help="Let a model write so many prompts for each category."),
    click.option("--lookalikes", type=click.IntRange(min=1), help="The same of harmless prompts that sound like them."),
    click.option("--follow-ups", type=click.IntRange(1, 8), help="Let it ask on so often after a model's answers."),
    click.option("--model", metavar="MODEL", help="The writer: a folder, a hub id, a served name, a script."),
    click.option("--recipe", metavar="FILE", help="A recipe: --model and --target are then names of its `models`."),
    click.option("--target", metavar="MODEL", help="Whose answers are followed up; the writer's if not given."),
    click.option("--seed", type=int, default=0, show_default=True, help="Examples and sampling follow from it."),
)


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@PUSHING
@WRITING
@BACKEND
@API_KEY
@click.option("--category", default="", help="A risk category for all prompts; `benign` where they should be answered.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many prompts of each file.")
@click.option("--output", metavar="FILE", default="redteam.jsonl", show_default=True, help="Where the prompts go.")
@click.option("--force", is_flag=True, help="Write over prompts that are there.")
def redteam(
    files: tuple[str, ...],
    vectors: tuple[str, ...],
    folder: str | None,
    escalate: bool,
    escalations: str | None,
    expand: int | None,
    lookalikes: int | None,
    follow_ups: int | None,
    model: str | None,
    recipe: str | None,
    target: str | None,
    seed: int,
    backend: str,
    base_url: str | None,
    api_key_env: str | None,
    category: str,
    limit: int | None,
    output: str,
    force: bool,
) -> int:
    """Push the prompts of FILEs in several ways: as they are, under each attack vector, in several turns.

    Reads what Charter reads as prompts: JSONL, CSV, XSTest, HarmBench, OR-Bench, hh-rlhf. A model can write more
    prompts of each risk category, harmless ones that sound like them, and follow-up turns. Each row of the output has
    messages, category, vector, parent (the seed that was pushed), parents (what a writer was shown), and writer.
    """
    from charter.labels_file import check_free, write_labels
    from charter.redteaming import Wanted, Written, written
    from constitution.faults import BadInput, Fault
    from engine.inputs import PromptSource, check_prompts, read_prompts
    from evaluation.redteam import EQUAL, Seed, equal, pushed
    from evaluation.redteam_writing import counted, lines_left_out

    place = Path(output)
    notebook = place.with_suffix(".written.jsonl")
    if place.suffix != ".jsonl":
        raise BadInput(Fault("prompts are written as .jsonl", file=output, where="--output"))
    pushes = _pushes(vectors, folder, escalations, escalate=escalate)
    wanted = Wanted(expand or 0, lookalikes or 0, follow_ups or 0, seed)
    writer, answering = _models(wanted.needs_writer, model, target, recipe, backend, base_url, api_key_env)
    sources = [PromptSource(path=path, category=category, limit=limit) for path in files]
    check_prompts(sources)
    prompts = list(read_prompts(sources))
    if writer is None:
        seeds = [Seed(prompt) for prompt in prompts]
        made = list(pushed(seeds, pushes))
        result = Written(made, {EQUAL: equal(seeds, pushes, made)}, [])
    else:
        check_free(place, force=force)
        _check_risks(prompts, wanted)
        assert answering is not None
        result = written(prompts, pushes, wanted, writer, answering, notebook)
    write_labels(place, [each.as_json() for each in result.prompts], force=force)
    for (risk, vector), count in counted(result.prompts).items():
        click.echo(f"{_shown(risk) or '(no category)':24} {_shown(vector):16} {count:6,}")
    for line in lines_left_out(result.left_out):
        click.echo(line)
    for tally in result.tallies:
        click.echo(_shown(str(tally)), err=tally.kept < tally.wanted)
    if any(tally.kept < tally.wanted for tally in result.tallies):
        click.echo(f"the writer gave out: what it said is in {notebook}", err=True)
    click.echo(f"wrote {place}")
    return 0


def _check_risks(prompts: Sequence[Prompt], wanted: Wanted) -> None:
    """Raises BadInput where there is no risk of which more could be written."""
    from constitution.faults import BadInput, Fault
    from evaluation.judgements import is_harmless

    if (wanted.expand or wanted.lookalikes) and all(is_harmless(prompt.category) for prompt in prompts):
        hint = "a column `category`, or --category, names the risk of a prompt"
        raise BadInput(Fault("no prompt has a risk category to write more of", where="FILE", hint=hint))


def _shown(text: str) -> str:
    from charter.showing import printable

    return printable(text)


def _pushes(vectors: Sequence[str], folder: str | None, escalations: str | None, *, escalate: bool) -> list[Push]:
    """The ways to push. Raises BadInput."""
    from evaluation.redteam import OUR_ESCALATIONS, OUR_VECTORS, read_escalations, read_vectors
    from evaluation.scorecard import NO_VECTOR

    named = [name for name in vectors if name != NO_VECTOR]
    pushes: list[Push] = []
    if named or not vectors:
        pushes += read_vectors(Path(folder) if folder else OUR_VECTORS, named)
    if escalate or escalations:
        pushes += read_escalations(Path(escalations) if escalations else OUR_ESCALATIONS)
    return pushes


def _models(
    needed: bool,
    model: str | None,
    target: str | None,
    recipe: str | None,
    backend: str,
    base_url: str | None,
    api_key_env: str | None,
) -> tuple[ModelSpec | None, ModelSpec | None]:
    """Who writes and whose answers are followed up; nobody where nothing is to be written. Raises BadInput."""
    from charter.commands.options import model_spec
    from charter.recipe import load_recipe
    from constitution.faults import BadInput, Fault, did_you_mean
    from engine.backends.opening import check_model

    if not needed:
        return None, None
    if model is None:
        hint = "name one with --model"
        raise BadInput(Fault("a model has to write them", where="--expand, --lookalikes, --follow-ups", hint=hint))
    known = load_recipe(recipe).models if recipe else None

    def spec(name: str, where: str) -> ModelSpec:
        if known is None:
            found = model_spec(name, backend, base_url, api_key_env)
        elif name in known:
            found = known[name]
        else:
            hint = did_you_mean(name, known)
            raise BadInput(Fault(f"there is no model '{name}'", file=str(recipe), where=where, hint=hint))
        check_model(found, where)
        return found

    return spec(model, "--model"), spec(target or model, "--target" if target else "--model")
