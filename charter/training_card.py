"""`README.md` in a training's folder: the model, what it learnt from, the settings, and the figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charter.recipe import frozen

if TYPE_CHECKING:
    from trainers.settings import TrainingSettings

KINDS = {
    "sft": "supervised fine-tuning",
    "pm": "preference modelling",
    "rl": "reinforcement learning",
    "dpo": "direct preference optimisation",
}


def training_card(kind: str, settings: TrainingSettings, manifest: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(kind, settings, manifest)) + "\n"


def _lines(kind: str, settings: TrainingSettings, manifest: Mapping[str, Any]) -> Iterator[str]:
    data = manifest["data"]
    yield f"# {settings.name}"
    yield ""
    yield f"A model made by Charter's {KINDS[kind]} from `{settings.model}` ({manifest['model']['revision']})."
    yield "The weights are in `model/`, in safetensors, with their tokenizer and chat template."
    yield ""
    yield "| | |"
    yield "|---|---|"
    constitutions = ", ".join(f"`{each}`" for each in data["constitutions"]) or "none"
    yield f"| constitutions | {constitutions} |"
    yield f"| data hash | `{data['data_hash']}` |"
    for name, count in data["rows"].items():
        yield f"| rows: {name} | {count:,} |"
    for reason, count in data["left_out"].items():
        yield f"| left out: {reason} | {count:,} |"
    for name, count in data["facts"].items():
        yield f"| {name} | {count:,} |"
    yield f"| tokens of one pass | {data['tokens']:,} |"
    yield f"| steps | {manifest['steps']:,} |"
    yield f"| seed | {manifest['seed']} |"
    yield ""
    yield "| figure | value |"
    yield "|---|---|"
    for name, value in manifest["figures"].items():
        yield f"| {name.replace('_', ' ')} | {value:.4g} |"
    yield ""
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()) + "."
    yield ""
    yield "To make it again, with the frozen settings of this folder:"
    yield ""
    yield "```sh"
    yield f"charter train {kind} settings.yaml --output ANOTHER_FOLDER"
    yield "```"
    yield ""
    yield "The settings:"
    yield ""
    yield "```yaml"
    yield frozen(settings).rstrip()
    yield "```"
