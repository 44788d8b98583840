"""Pairs that people or principles have judged, in the two forms of tools for it, as plain preference rows.

    Argilla           records.json: what people answered, or the suggestion where nobody has
    annotated pairs   version 2.0 of Inverse Constitutional AI and Feedback Forensics: the default annotator's word

People who do not agree, and an annotator without a preference, leave a pair undecided.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from engine.inputs.conversations import WrongShape
from engine.inputs.rows import ANNOTATOR

SIDES = ("a", "b")


def unfolded(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with `prompt`, `chosen` and `rejected`, and with what else it says under our own columns' names. Rows of
    other forms are returned as they are. Raises WrongShape."""
    try:
        if isinstance(values.get("fields"), dict) and "suggestions" in values:
            return _argilla(values)
        if isinstance(values.get("annotations"), dict) and "response_a" in values:
            return _annotated(values)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise WrongShape(f"it has the columns of an annotated pair, and not what they hold: {error}") from None
    return values


def _argilla(values: Mapping[str, Any]) -> dict[str, Any]:
    fields, metadata = values["fields"], values.get("metadata") or {}
    answers = {side: fields.get(f"response_{side}") for side in SIDES}
    row = {"pair_id": values.get("id"), "category": metadata.get("category"), "vector": metadata.get("vector")}
    row["constitution_hash"] = metadata.get("constitution")
    suggested = (values["suggestions"] or {}).get("preference") or {}
    said = Counter(each["value"] for each in (values.get("responses") or {}).get("preference") or [])
    if not said:
        probability = suggested.get("score")
        status = "given" if probability is None else "decided"
        return _row(fields.get("prompt"), answers, suggested.get("value"), status, probability=probability, **row)
    (first, count), *others = said.most_common()
    agreed = not others or others[0][1] < count
    if agreed and first in SIDES:
        return _row(fields.get("prompt"), answers, first, "given", **row)
    status = "tie" if agreed and first == "tie" else "undecided"
    both_bad = True if agreed and first == "both_bad" else None
    return _row(fields.get("prompt"), answers, "a", status, both_bad=both_bad, **row)


def _annotated(values: Mapping[str, Any]) -> dict[str, Any]:
    metadata = values.get("metadata") or {}
    answers = {side: (values.get(f"response_{side}") or {}).get("text") for side in SIDES}
    prompt = json.loads(metadata["messages"]) if "messages" in metadata else values.get("prompt")
    annotation = values["annotations"].get(values.get(ANNOTATOR)) or {}
    preferred = str(annotation.get("pref") or "").removeprefix("text_")
    probability = float(metadata["probability"]) if "probability" in metadata else None
    row = {name: metadata.get(name) for name in ("category", "vector", "source")} | {"pair_id": values.get("id")}
    if preferred not in SIDES:
        return _row(prompt, answers, "a", "undecided", **row)
    return _row(prompt, answers, preferred, "given" if probability is None else "decided", probability, **row)


def _row(
    prompt: object,
    answers: Mapping[str, object],
    preferred: object,
    status: str,
    probability: float | None = None,
    **columns: object,
) -> dict[str, Any]:
    if preferred not in SIDES:
        raise WrongShape("nobody says which answer is better", "a record has a response or a suggestion, 'a' or 'b'")
    other = SIDES[1 - SIDES.index(str(preferred))]
    return {
        "prompt": prompt,
        "chosen": answers[str(preferred)],
        "rejected": answers[other],
        "probability": probability,
        "status": status,
        **columns,
    }
