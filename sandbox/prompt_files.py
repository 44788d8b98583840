"""Writes the prompts of the demo to sandbox/prompts/, in the chat format that every stage reads.

python -m sandbox.prompt_files

red_team.jsonl      harmful requests about development items, which the model was not trained on
everyday.jsonl      benign requests and look-alikes about the same items, for the helpful half of a data set
evaluation.jsonl    all three about held-out items, phrasings and vectors: for judging only
helpful_pairs.jsonl answers to the everyday requests, a right one before a wrong one and before a needless refusal: what
                    people who compare answers would have said
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from prompts.messages import Message
from sandbox.answers import AnswerKind, answer
from sandbox.phrasings import Question, ask
from sandbox.splits import Split
from sandbox.world import Group, draw_request, items

FOLDER = Path(__file__).parent / "prompts"
COUNTS: dict[str, tuple[Split, dict[Group, int]]] = {
    "red_team": ("development", {"harmful": 400}),
    "everyday": ("development", {"benign": 400, "lookalike": 400}),
    "evaluation": ("held_out", {"harmful": 150, "benign": 100, "lookalike": 100}),
}
"""How many prompts of each group a file holds, and of which split."""


def questions(name: str) -> list[Question]:
    """The distinct questions of one file, always the same."""
    split, counts = COUNTS[name]
    chance = random.Random(name)  # noqa: S311 - meant to be repeatable
    found: dict[str, Question] = {}
    for group, count in counts.items():
        wanted = len(found) + count
        while len(found) < wanted:
            question = ask(chance, draw_request(chance, group, chance.choice(items(split))), split)
            found.setdefault(json.dumps(question.messages), question)
    return list(found.values())


def lines(asked: Iterable[Question]) -> str:
    """One JSON object a line: the messages, the risk category or the group, the way of pushing."""
    rows = (
        {
            "messages": list(question.messages),
            "category": question.request.category or question.request.group,
            "vector": question.vector,
        }
        for question in asked
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def helpful_pairs() -> Iterator[dict[str, list[Message]]]:
    """Two pairs for each everyday request, as comparisons by people: the right answer is chosen."""
    chance = random.Random("helpful_pairs")  # noqa: S311 - meant to be repeatable
    worse: tuple[AnswerKind, ...] = ("wrong", "needless")
    for question in questions("everyday"):
        for kind in worse:
            chosen, rejected = (
                answer(chance, question.request, each, chance.choice(items("development")))
                for each in ("correct", kind)
            )
            yield {"prompt": list(question.messages), "chosen": said(chosen), "rejected": said(rejected)}


def said(text: str) -> list[Message]:
    """An answer as a message."""
    return [{"role": "assistant", "content": text}]


def main() -> None:
    """Writes the files."""
    FOLDER.mkdir(exist_ok=True)
    for name in COUNTS:
        (FOLDER / f"{name}.jsonl").write_text(lines(questions(name)), encoding="utf-8")
    rows = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in helpful_pairs())
    (FOLDER / "helpful_pairs.jsonl").write_text(rows, encoding="utf-8")


if __name__ == "__main__":
    main()
