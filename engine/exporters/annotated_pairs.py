"""Annotated pairs 2.0: what Inverse Constitutional AI writes and Feedback Forensics shows.

A comparison of two answers with an annotation by the label and by every principle that was asked. Principles are
named by their comparison question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean

from engine.exporters.argilla import chosen_is_a
from engine.exporters.form import Form, Format, Row
from engine.exporters.turns import single_answers
from engine.pairs import Pair
from engine.records import Vote
from prompts.messages import Message

LABEL = "label"


def _comparison(pair: Pair) -> Row:
    first = chosen_is_a(pair)
    a, b = (pair.chosen, pair.rejected) if first else (pair.rejected, pair.chosen)
    metadata = {
        "messages": json.dumps(list(pair.prompt)),
        "probability": None if pair.probability is None else repr(pair.probability),
        "category": pair.category or None,
        "vector": pair.vector or None,
        "source": pair.source or None,
    }
    annotations: Row = {LABEL: {"pref": "a" if first else "b"}}
    for principle in pair.principle_ids:
        votes = [vote for vote in pair.votes if vote.principle_id == principle]
        if votes:
            annotations[f"principle {principle}"] = _annotation(votes, chosen="a" if first else "b")
    return {
        "id": pair.pair_id,
        "prompt": _said(pair.prompt),
        "response_a": {"text": a[0]["content"]},
        "response_b": {"text": b[0]["content"]},
        "annotations": annotations,
        "metadata": {name: value for name, value in metadata.items() if value is not None},
    }


def _said(prompt: Sequence[Message]) -> str:
    """One turn's text, or the turns with who says them."""
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _annotation(votes: Sequence[Vote], chosen: str) -> Row:
    """What one principle says of the pair; votes call the chosen answer a."""
    read = [vote.probability_a for vote in votes if vote.probability_a is not None]
    if len(read) < len(votes):
        return {"pref": None, "no_pref_reason": "invalid"}
    share = fmean(read)
    if share == 0.5:
        return {"pref": None, "no_pref_reason": "both"}
    return {"pref": chosen if share > 0.5 else {"a": "b", "b": "a"}[chosen]}


def _document(rows: Sequence[Row], principles: Mapping[str, str]) -> object:
    used = dict.fromkeys(name for row in rows for name in row["annotations"])
    keys = dict.fromkeys(name for row in rows for name in row["metadata"])
    return {
        "metadata": {
            "version": "2.0",
            "description": "Preference pairs exported by Charter",
            "dataset_name": "charter",
            "default_annotator": LABEL,
            "available_metadata_keys_per_comparison": list(keys),
        },
        "annotators": {name: _annotator(name, principles) for name in used},
        "comparisons": list(rows),
    }


def _annotator(name: str, principles: Mapping[str, str]) -> Row:
    if name == LABEL:
        return {"name": LABEL, "description": "the label of the pair", "type": "unknown"}
    principle = name.removeprefix("principle ")
    return {"name": principle, "description": principles.get(principle) or principle, "type": "principle"}


FORMAT = Format(
    title="annotated pairs 2.0",
    forms={
        "preference": Form(
            columns={},
            row=_comparison,
            stored="json",
            use="feedback-forensics -d {train}",
            notes=(
                "A principle's votes become its preference, a, b or none; their probabilities are lost. The label's is "
                "in the metadata, as text.",
                "prompt is one text for all turns; the turns themselves are in the metadata, as JSON.",
                "Pairs that part before their last turn are left out.",
            ),
            refuses=single_answers,
            carries=False,
            document=_document,
        ),
    },
)
