"""Argilla: a folder that `rg.Dataset.from_disk` sends to a server, for people to judge what a model judged.

Which answer stands first is drawn from the pair's id, so that the place says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.exporters.form import DataFile, Form, Format, Row
from engine.exporters.turns import single_answers
from engine.pairs import Pair
from engine.products import RevisionExample
from engine.records import derived_seed

USE = 'rg.Dataset.from_disk("{folder}/{kind}-train", name=…, workspace=…, client=client)'
FILE = "{kind}-{split}/records"
NOTES = (
    "The judge's label is a suggestion with its probability as the score; people's answers start empty.",
    "Text is shown as text: markdown is off, since a model's answer may hold anything.",
)


def chosen_is_a(pair: Pair) -> bool:
    """Whether the chosen answer is shown as a; as good as a coin for every pair."""
    return derived_seed("shown first", pair.pair_id) % 2 == 0


def _tags(example: Any) -> Row:
    tags = {"category": example.category, "vector": example.vector, "constitution": example.constitution_hash}
    return {name: value for name, value in tags.items() if value}


def _pair(pair: Pair) -> Row:
    first = chosen_is_a(pair)
    answers = [pair.chosen[0]["content"], pair.rejected[0]["content"]]
    a, b = answers if first else reversed(answers)
    known = {} if pair.probability is None else {"probability": pair.probability}
    suggestion: Row = {"value": "a" if first else "b", "score": pair.probability, "agent": "charter"}
    return {
        "id": pair.pair_id,
        "fields": {"prompt": list(pair.prompt), "response_a": a, "response_b": b},
        "metadata": _tags(pair) | known,
        "suggestions": {"preference": suggestion},
        "responses": {},
        "vectors": {},
    }


def _demonstration(example: RevisionExample) -> Row:
    return {
        "id": f"{example.item_id}-{example.rounds}",
        "fields": {"prompt": list(example.prompt), "response": example.completion[0]["content"]},
        "metadata": _tags(example),
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }


def _document(rows: Sequence[Row], principles: object) -> object:
    return list(rows)


def _field(name: str, title: str, kind: str = "text") -> Row:
    settings = {"type": kind, "use_markdown": False}
    return {"name": name, "title": title, "required": True, "settings": settings}


def _labels(name: str, title: str, options: Sequence[tuple[str, str]]) -> Row:
    choices = [{"value": value, "text": text} for value, text in options]
    return {
        "name": name,
        "title": title,
        "required": True,
        "settings": {"type": "label_selection", "options": choices, "visible_options": None},
    }


def _metadata(name: str, settings: Row) -> Row:
    return {"name": name, "title": name, "visible_for_annotators": False, "settings": settings}


TERMS = [_metadata(name, {"type": "terms", "values": None}) for name in ("category", "vector", "constitution")]
PROBABILITY = _metadata("probability", {"type": "float", "min": 0.0, "max": 1.0})
PROMPT = _field("prompt", "Conversation", "chat")


def _settings(fields: list[Row], question: Row, metadata: list[Row], guidelines: str) -> Row:
    return {
        "guidelines": guidelines,
        "fields": fields,
        "questions": [question],
        "vectors": [],
        "metadata": metadata,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


SETTINGS: dict[str, Row] = {
    "preference": _settings(
        [PROMPT, _field("response_a", "Answer A"), _field("response_b", "Answer B")],
        _labels(
            "preference",
            "Which answer is better?",
            [("a", "A"), ("b", "B"), ("tie", "as good as each other"), ("both_bad", "both bad")],
        ),
        [*TERMS, PROBABILITY],
        "Say which answer is better under the constitution that the data set's card names.",
    ),
    "sft": _settings(
        [PROMPT, _field("response", "Answer")],
        _labels("quality", "May a model learn from this answer?", [("yes", "yes"), ("no", "no")]),
        TERMS,
        "Say whether a model may learn from the answer under the constitution that the data set's card names.",
    ),
}


def _beside(files: Sequence[DataFile]) -> Row:
    found: Row = {}
    for file in files:
        folder = f"{file.kind}-{file.split}/.argilla"
        found[f"{folder}/settings.json"] = SETTINGS[file.kind]
        found[f"{folder}/dataset.json"] = {"name": f"charter-{file.kind}-{file.split}", "allow_extra_metadata": True}
    return found


FORMAT = Format(
    title="Argilla",
    forms={
        "preference": Form(
            columns={},
            row=_pair,
            stored="json",
            use=USE,
            notes=(*NOTES, "Pairs that part before their last turn are left out."),
            refuses=single_answers,
            carries=False,
            document=_document,
            file=FILE,
        ),
        "sft": Form(
            columns={}, row=_demonstration, stored="json", use=USE, carries=False, document=_document, file=FILE
        ),
    },
    beside=_beside,
)
