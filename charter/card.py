"""`README.md` in a run folder: what was made, from what, what was left out, what it took, how to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from charter.recipe import Recipe
from charter.reuse import reused_lines
from engine.progress import duration


def card(recipe: Recipe, manifest: Mapping[str, Any], cost: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(recipe, manifest, cost)) + "\n"


def _lines(recipe: Recipe, manifest: Mapping[str, Any], cost: Mapping[str, Any]) -> Iterator[str]:
    law = manifest["constitution"]
    yield f"# {recipe.name}"
    yield ""
    yield f"Made by Charter under the constitution *{law['name']}* {law['version']} (hash `{law['hash']}`)."
    yield ""
    yield "| data set | rows | left out |"
    yield "|---|---|---|"
    for name, product in manifest["products"].items():
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in product["left_out"].items()) or "none"
        yield f"| `data/{name}` | {product['rows']:,} | {reasons} |"
    yield ""
    for stage, counts in manifest["stages"].items():
        made = f"{counts['items']:,} prompts gave {counts['rows']:,} rows"
        yield f"- `{stage}`: {made}; {counts['failed']:,} were set aside."
    yield ""
    yield "| role | model | backend |"
    yield "|---|---|---|"
    for role, spec in recipe.models_by_role(recipe.played_roles).items():
        yield f"| {role} | `{spec.model}` | {spec.backend} |"
    yield ""
    yield "| stage | calls | prompt tokens | cached | generated tokens | wall time | money |"
    yield "|---|---|---|---|---|---|---|"
    for stage, bill in cost.items():
        counted = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")
        sums = {name: sum(step[name] for step in bill["steps"]) for name in counted}
        known = [step["money"] for step in bill["steps"] if step["money"] is not None]
        money = f"{sum(known):.2f}" if known and len(known) == len(bill["steps"]) else "no price"
        yield (
            f"| `{stage}` | {sums['calls']:,} | {sums['prompt_tokens']:,} | {sums['cached_tokens']:,} "
            f"| {sums['completion_tokens']:,} | {duration(bill['wall_seconds'])} | {money} |"
        )
    yield ""
    for line in reused_lines(cost):
        yield line + "."
        yield ""
    yield f"Seed {manifest['seed']}; versions: " + ", ".join(f"{k} {v}" for k, v in manifest["versions"].items()) + "."
    yield ""
    yield "To make it again, with the frozen recipe of this folder:"
    yield ""
    yield "```sh"
    yield "charter run recipe.yaml --output ANOTHER_FOLDER"
    yield "```"
    yield ""
    yield "The texts are a model's answers to prompts that may ask for harm, and may themselves be harmful."
