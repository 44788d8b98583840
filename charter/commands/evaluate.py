"""`charter evaluate`: policies side by side on the same prompts."""

from __future__ import annotations

import json
import shlex
import sys

import click

from charter.commands.options import LIMIT, OUTPUT, overrides


@click.command()
@click.argument("settings", type=click.Path(), required=False)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME=MODEL",
    help="A folder, a hub id, or a training's folder. May be given several times, in the order they were made.",
)
@click.option("--prompts", multiple=True, metavar="PATH", help="Held-out prompts with categories.")
@click.option("--judge", metavar="MODEL", help="A model that judges: best one that had no part in the training.")
@click.option("--quantized", metavar="METHOD", help="Ask every policy again with its weights in fewer bits, as int8.")
@click.option("--prefill", metavar="TEXT", help="Ask again with answers made to begin so: 'Sure, here is how:'.")
@click.option("--fine-tuned", metavar="FILE", help="Ask again after a few steps on the complying answers of a file.")
@click.option("--seed", type=int, help="Sampling, principles and bootstraps follow from it.")
@LIMIT
@OUTPUT
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any key, such as temperatures=[0,1]. May be given several times.",
)
@click.option("--resume", is_flag=True, help="Go on with the evaluation that is in the folder.")
def evaluate(
    settings: str | None,
    policies: tuple[str, ...],
    prompts: tuple[str, ...],
    judge: str | None,
    quantized: str | None,
    prefill: str | None,
    fine_tuned: str | None,
    seed: int | None,
    limit: int | None,
    output: str | None,
    pairs: tuple[str, ...],
    resume: bool,
) -> int:
    """Sample policies on the same prompts, judge every answer, compare them with each other, and write a report.

    SETTINGS is a YAML file; flags and --set add to it or stand for it.
    """
    from charter.evaluating import evaluate as carry_out
    from charter.evaluating import read_settings, resume_hint
    from charter.evaluation_telling import tell_evaluation
    from charter.stopping import resumable

    flags = {
        "policies": _policies(policies),
        "prompts": json.dumps([{"path": path} for path in prompts]) if prompts else None,
        "judge": json.dumps({"model": judge}) if judge else None,
        "robustness.quantization": quantized,
        "robustness.prefill": None if prefill is None else json.dumps(prefill, ensure_ascii=False),
        "robustness.fine_tuning.examples": json.dumps([{"path": fine_tuned}]) if fine_tuned else None,
        "seed": seed,
        "limit": limit,
        "output": output,
    }
    loaded = read_settings(settings, overrides(pairs, **flags))

    def work() -> int:
        status = carry_out(loaded, resume=resume, command=shlex.join(sys.argv))
        tell_evaluation(loaded.folder)
        return status

    return resumable("the evaluation", work, lambda: resume_hint(loaded.folder))


def _policies(given: tuple[str, ...]) -> str | None:
    """Policies as the value of a setting. Raises BadInput where one has no name."""
    from constitution.faults import BadInput, Fault

    found: dict[str, dict[str, str]] = {}
    for each in given:
        name, equals, model = each.partition("=")
        if not equals or not name or not model:
            raise BadInput(Fault(f"'{each}' names no policy", where="--policy", hint="write --policy final=./my-model"))
        found[name] = {"model": model}
    return json.dumps(found) if found else None
