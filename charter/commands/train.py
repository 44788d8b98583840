"""`charter train`: one training a command. What they share is here; what they mean is in trainers/."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click

from charter.commands.options import OUTPUT, overrides, shared

TRAINING = shared(
    click.argument("settings", type=click.Path(), required=False),
    click.option("--model", help="The weights to start from: a folder, a hub id, or an earlier training's folder."),
    OUTPUT,
    click.option("--workers", type=click.IntRange(min=1), help="Processes that share the rows, on Ray Train."),
    click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set any key, such as optimization.epochs=2. May be given several times.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the last checkpoint of the training in the folder."),
    click.option("--dry-run", is_flag=True, help="Print the plan, with memory and time; train nothing."),
)


@click.group("train")
def group() -> None:
    """Train on what a run made.

    SETTINGS is a YAML file; flags and --set add to it or stand for it. What is made lands in one run folder: the model,
    checkpoints, metrics, and a card.
    """


@group.command()
@TRAINING
@click.option("--revisions", metavar="RUN", help="Learn the revised answers of a run.")
@click.option(
    "--which", type=click.Choice(["final", "all", "up_to_n"]), help="Which of its revisions: the last one by default."
)
def sft(revisions: str | None, which: str | None, **given: Any) -> int:
    """Fine-tune a policy on answers: revisions of a run, demonstrations, helpful answers."""
    flags = {"revisions.run": revisions, "revisions.which": which}
    return _run("sft", flags, **given)


@group.command()
@TRAINING
@click.option("--data", multiple=True, metavar="PATH", help="Labelled pairs: a run, or a file. May be given again.")
@click.option("--test", multiple=True, metavar="PATH", help="Pairs to measure on, beside those held out.")
def pm(data: tuple[str, ...], test: tuple[str, ...], **given: Any) -> int:
    """Train a preference model on labelled pairs, with their probabilities as targets."""
    return _run("pm", {"data": _paths(data), "test": _paths(test)}, **given)


@group.command()
@TRAINING
@click.option("--data", multiple=True, metavar="PATH", help="Labelled pairs: a run, or a file. May be given again.")
@click.option("--test", multiple=True, metavar="PATH", help="Pairs to measure on, beside those held out.")
@click.option("--beta", type=float, help="How strongly the policy is held to where it started.")
def dpo(data: tuple[str, ...], test: tuple[str, ...], beta: float | None, **given: Any) -> int:
    """Train a policy on labelled pairs directly, with their probabilities as targets."""
    flags = {"data": _paths(data), "test": _paths(test), "beta": None if beta is None else str(beta)}
    return _run("dpo", flags, **given)


@group.command()
@TRAINING
def rl(**given: Any) -> int:
    """Train a policy by reinforcement learning on what preference models or judges reward.

    What it is rewarded with, and how it is watched, stands in SETTINGS.
    """
    return _run("rl", {}, **given)


def _paths(paths: tuple[str, ...]) -> str | None:
    """Paths as the value of a setting that lists sources."""
    return json.dumps([{"path": path} for path in paths]) if paths else None


def _run(
    kind: str,
    flags: dict[str, str | None],
    *,
    settings: str | None,
    model: str | None,
    output: str | None,
    workers: int | None,
    pairs: tuple[str, ...],
    resume: bool,
    dry_run: bool,
) -> int:
    """Trains, tells what came of it, and returns the exit status."""
    from charter.stopping import resumable
    from charter.training import execute_training, read_settings, resume_hint, run_folder
    from charter.training_plan import tell_plan

    typed = overrides(pairs, model=model, output=output, **{"launch.workers": workers}, **flags)
    loaded = read_settings(kind, settings, typed)
    if dry_run:
        tell_plan(kind, loaded)
        return 0

    def work() -> int:
        trained = execute_training(kind, loaded, resume=resume, command=shlex.join(sys.argv))
        for name, value in trained.figures.items():
            print(f"{name.replace('_', ' ')}: {value:.4g}")
        print(f"model: {trained.model} after {trained.steps:,} steps; its card is {trained.folder.location}/README.md")
        return 0

    return resumable("the training", work, lambda: resume_hint(run_folder(loaded)))
