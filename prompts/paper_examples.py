"""The few-shots that the CAI paper released, read from the user's own copy of its JSON files.

    CritiqueRevisionFewShotPrompts.json   texts with "Human:", "Assistant:", "CritiqueRequest:", "Critique:", …
    RLMadisonFewShotPrompts.json          {prompt, corrects, incorrects}; the question is drawn apart
    RLMadisonPrecogFewShotPrompts.json    {prompt}: two answers in [[[…]]], the reasons, the verdict

The comparison files hold no questions: those of `RLMadisonInstructions.json` beside them are used, one an example in
their order, and ours where that file is not there. The better answer is put at B, A, A, B, …, since the file does
not say which letter it had. The files carry no licence, so nothing of them is copied here.
(arXiv 2212.08073, section 4.1 and appendix E.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from constitution.faults import BadInput, Fault
from constitution.yaml_files import read_text
from prompts.examples import CompareExample, CritiqueReviseExample, ReasonExample

PAPER_FILES = {
    "critique_revise": "CritiqueRevisionFewShotPrompts.json",
    "compare": "RLMadisonFewShotPrompts.json",
    "reason": "RLMadisonPrecogFewShotPrompts.json",
}
QUESTIONS_FILE = "RLMadisonInstructions.json"

SPEAKER = re.compile(r"(?:^|\n)\n*(Human|Assistant|CritiqueRequest|Critique|RevisionRequest|Revision):")
SHORT_SPEAKER = re.compile(r"(?:^|\n)(H|A):")
STEPS = re.compile(
    r"conversation between[^\n]*:\n(?P<conversation>.*?)\n\{\}\s*"
    r"\(A\) \[\[\[(?P<first>.*?)\]\]\]\s*\(B\) \[\[\[(?P<second>.*?)\]\]\]\s*"
    r"Assistant:(?P<reasoning>.*?)\n\s*Human:.*?\((?P<better>[AB])\)\s*$",
    re.DOTALL,
)
STEP_BY_STEP = re.compile(r"^\s*let's think step by step:?\s*", re.IGNORECASE)


def read_paper(kind: str, path: Path, questions: Sequence[str]) -> tuple[Any, ...]:
    """The examples of one of the paper's files, as ours of that kind (see PAPER_FILES).

    `questions` stand in where the file of instructions is not beside it.
    Raises BadInput, naming the file and the example, where the shape is another.
    """
    items = _items(path)
    if kind == "critique_revise":
        return tuple(_guarded(path, place, _critique_revise, text) for place, text in enumerate(items))
    asked = _questions(path, questions)
    if kind == "reason":
        return tuple(
            _guarded(path, place, _reason, item, asked[place % len(asked)]) for place, item in enumerate(items)
        )
    return tuple(
        _guarded(path, place, _compare, item, asked[place % len(asked)], "BAAB"[place % 4])
        for place, item in enumerate(items)
    )


def _items(path: Path) -> list[Any]:
    """The list that the file holds."""
    try:
        value = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadInput(Fault(f"not JSON: {error.msg}", str(path), error.lineno, error.colno)) from None
    if not isinstance(value, list) or not value:
        raise BadInput(Fault("the file must hold a list of examples", str(path), hint="use the paper's own file"))
    return value


def _questions(path: Path, ours: Sequence[str]) -> Sequence[str]:
    beside = path.parent / QUESTIONS_FILE
    if not beside.exists():
        return ours
    return [str(text).strip().removesuffix("Options:").strip() for text in _items(beside)]


def _guarded(path: Path, place: int, parse: Any, *arguments: Any) -> Any:
    """One example; whatever is wrong with its shape is a fault that names the file and the example."""
    try:
        return parse(*arguments)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        found = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        message = f"the example is not of the shape of the paper's file: {found}"
        raise BadInput(Fault(message, str(path), where=f"example {place + 1}")) from None


def _parts(pattern: re.Pattern[str], text: str) -> list[tuple[str, str]]:
    """(label, text) for each label that the pattern finds, in order."""
    pieces = pattern.split(text)
    return [(label, body.strip()) for label, body in zip(pieces[1::2], pieces[2::2], strict=True)]


def _turns(parts: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"user" if label in {"Human", "H"} else "assistant": text} for label, text in parts]


def _critique_revise(text: str) -> CritiqueReviseExample:
    parts = _parts(SPEAKER, text)
    labels = [label for label, _ in parts]
    start = labels.index("CritiqueRequest")
    named = dict(parts[start:])
    return CritiqueReviseExample.model_validate(
        {
            "conversation": _turns(parts[: start - 1]),
            "response": parts[start - 1][1],
            "critique_request": named["CritiqueRequest"],
            "critique": named["Critique"],
            "revision_request": named["RevisionRequest"],
            "revision": named["Revision"],
        }
    )


def _compare(item: dict[str, Any], question: str, better: str) -> CompareExample:
    good, bad = item["corrects"][0], item["incorrects"][0]
    parts = [part for part in _parts(SPEAKER, item["prompt"]) if part[1]]
    return CompareExample.model_validate(
        {
            "conversation": _turns(parts),
            "first": good if better == "A" else bad,
            "second": bad if better == "A" else good,
            "question": question,
            "better": better,
        }
    )


def _reason(item: dict[str, Any], question: str) -> ReasonExample:
    match = STEPS.search(item["prompt"])
    if match is None:
        raise ValueError("no conversation, two answers in [[[…]]], reasons and verdict can be found in 'prompt'")
    return ReasonExample.model_validate(
        {
            "conversation": _turns(_parts(SHORT_SPEAKER, match["conversation"])),
            "first": match["first"],
            "second": match["second"],
            "question": question,
            "reasoning": STEP_BY_STEP.sub("", match["reasoning"]).strip(),
            "better": match["better"],
        }
    )
