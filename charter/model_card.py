"""The card of a trained model, for its `model/` folder: what the hub shows of the weights.

the training's manifest and settings ──► what it learnt from, the settings, the figures  (charter/training_card.py)
the runs that the settings name ───────► constitution, judge, labels, models             (charter/card.py)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from charter.card import RunFacts, finished_facts, label_lines, made_lines
from charter.card_parts import WARNING, cell, licence_lines, limit_lines, model_header
from charter.training import SETTINGS, settings_class
from charter.training_card import training_card
from constitution.yaml_files import load_yaml_text
from engine.storage import Folder

CLASSIFIERS = ("pm",)
"""Kinds of training whose models give a score instead of text."""
LIMITS = (
    "It learnt from a model's judgements under the constitution, not from people's.",
    "It does what it was rewarded for: look at the drift and the refusals of its outputs before it meets anybody.",
    "Nothing here shows that it is safe. Evaluate it on prompts of your own use.",
)


def is_training_folder(folder: Folder) -> bool:
    """Whether `charter train` made it."""
    return folder.exists(SETTINGS) and folder.exists("manifest.json")


def model_card(folder: Folder, licence: str | None = None) -> str:
    """The card of a finished training's model as Markdown."""
    manifest = folder.read_json("manifest.json")
    kind = str(manifest["kind"])
    text = folder.read(SETTINGS).decode()
    settings = load_yaml_text(text, settings_class(kind), f"{folder.location}/{SETTINGS}")
    runs = _runs(json.loads(settings.model_dump_json()))
    pipeline = "text-classification" if kind in CLASSIFIERS else "text-generation"
    parts = {f"the weights of {settings.model}": "as their publisher says"}
    parts |= {f"the data of {PurePath(name).name}": "as its card says" for name in runs}
    return "\n".join(
        (
            model_header(settings.name, licence, settings.model, pipeline),
            "",
            training_card(kind, settings, manifest).rstrip(),
            "",
            WARNING,
            "",
            *(line for name, facts in runs.items() for line in _data_lines(name, facts)),
            *licence_lines(licence, parts),
            *limit_lines(LIMITS),
            "",
        )
    )


def _runs(value: Any) -> dict[str, RunFacts]:
    """The finished runs that are named anywhere in the settings."""
    if isinstance(value, str):
        facts = finished_facts(Folder(value))
        return {value: facts} if facts else {}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return {name: facts for each in inner for name, facts in _runs(each).items()}


def _data_lines(name: str, facts: RunFacts) -> Iterator[str]:
    yield f"## Data: {cell(PurePath(name).name)}"
    yield ""
    yield from made_lines(facts)
    yield from label_lines(facts)
