"""`charter revise` and `charter compare`: one stage, described by flags instead of a recipe file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from charter.commands.options import BACKEND, RUNNING, overrides, shared
from charter.commands.run import carry_out

GIVEN = shared(
    click.argument("prompts", nargs=-1, required=True),
    click.option(
        "--format",
        "prompt_format",
        default="auto",
        show_default=True,
        help="How the prompts are written: auto, hh-rlhf, messages, csv, parquet, harmbench, xstest, text or hub.",
    ),
    click.option("--model", required=True, help="Model folder, hub id, or the name that a server serves."),
    BACKEND,
    click.option("--constitution", default="harmlessness", show_default=True, help="A name or a file."),
    click.option("--seed", type=int, default=0, show_default=True, help="Every draw follows from it."),
    click.option(
        "--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Of each completion."
    ),
    click.option("--temperature", type=float, default=1.0, show_default=True, help="Of each completion; 0 is greedy."),
    click.option("--few-shots/--no-few-shots", default=True, show_default=True, help="Send worked examples."),
)


@click.command()
@GIVEN
@click.option(
    "--rounds", type=click.IntRange(min=0), default=4, show_default=True, help="Critique and revision rounds."
)
@click.option("--critique/--no-critique", default=True, show_default=True, help="Revise after a critique, or at once.")
@click.option(
    "--on-no-fault",
    type=click.Choice(["keep", "stop", "revise"]),
    default="keep",
    show_default=True,
    help="Where the critique finds nothing: keep the answer, stop, or revise all the same.",
)
@RUNNING
def revise(rounds: int, critique: bool, on_no_fault: str, **given: Any) -> int:
    """Answer PROMPTS, then critique and revise the answers, round by round.

    Makes `data/revisions` in the run folder: prompt and completion, ready for supervised fine-tuning.
    """
    sampling = {"max_tokens": given["max_tokens"], "temperature": given["temperature"]}
    stage = {
        "rounds": rounds,
        "critique": critique,
        "on_no_fault": on_no_fault,
        "respond": sampling,
        "criticise": sampling,
        "rewrite": sampling,
    }
    return _run("revise", stage, **given)


@click.command()
@GIVEN
@click.option("--samples", type=click.IntRange(min=2), default=2, show_default=True, help="Answers a prompt.")
@click.option("--principles", type=click.IntRange(min=1), default=4, show_default=True, help="Drawn for each pair.")
@click.option("--both-orders/--one-order", default=True, show_default=True, help="Ask in both orders and average.")
@click.option("--reasoning/--no-reasoning", default=False, show_default=True, help="Let the judge reason first.")
@click.option(
    "--layout",
    type=click.Choice(["shared_first", "paper"]),
    default="shared_first",
    show_default=True,
    help="The principle last, so that all share a cached prefix, or in the paper's place.",
)
@click.option("--propositions/--no-propositions", default=True, show_default=True, help="Check each answer alone, too.")
@RUNNING
def compare(
    samples: int,
    principles: int,
    both_orders: bool,
    reasoning: bool,
    layout: str,
    propositions: bool,
    **given: Any,
) -> int:
    """Sample two answers to each of PROMPTS and label which is better under the constitution.

    Makes `data/preferences` in the run folder: prompt, chosen, rejected, and the probability of the label.
    """
    stage: dict[str, Any] = {
        "samples": samples,
        "principles": principles,
        "both_orders": both_orders,
        "propositions": propositions,
        "respond": {"max_tokens": given["max_tokens"], "temperature": given["temperature"]},
        "reasoning": {} if reasoning else None,
    }
    return _run("compare", stage, layout=layout, **given)


def _run(name: str, stage: dict[str, Any], **given: Any) -> int:
    from charter.recipe import recipe_from

    model = {"backend": given["backend"], "model": given["model"], "base_url": given["base_url"]}
    first = Path(given["prompts"][0]).name.partition(".")[0]
    described = {
        "name": f"{name}-{first}",
        "seed": given["seed"],
        "prompts": [{"path": path, "format": given["prompt_format"]} for path in given["prompts"]],
        "constitution": given["constitution"],
        "models": {"policy": {key: value for key, value in model.items() if value is not None}},
        "asking": {"use_few_shots": given["few_shots"], "layout": given.get("layout", "shared_first")},
        name: stage,
    }
    recipe = recipe_from(described, overrides(given["settings"], limit=given["limit"], output=given["output"]))
    return carry_out(
        recipe,
        resume=given["resume"],
        retry_failed=given["retry_failed"],
        dry_run=given["dry_run"],
        pilot=given["pilot"],
    )
