"""What a judge is tried on: pairs of which people said which is better, and questions with one right option.

the paper's HHH comparisons          a pair, and a question in the paper's own words
the paper's harmfulness classes      a question with nine options
hh-rlhf, TRL, a run's preferences …  a pair (engine/pairs.py)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from constitution.faults import BadInput, Fault
from engine.inputs.conversations import MissingColumn, WrongShape
from engine.inputs.rows import Row, read_rows
from engine.inputs.source import PromptSource, find_inputs
from engine.pair_forms import read_foreign
from engine.pairs import read_pairs, text_of
from prompts.messages import Message
from prompts.rendering import Rendered

CLOSING = "The answer is:"
PREFILL = f"{CLOSING} ("


@dataclass(frozen=True, slots=True)
class PairCase:
    """A pair with people's opinion. `better_first`: whether the file shows the better one first; None where its order
    means nothing."""

    source: str
    messages: tuple[Message, ...]
    better: str
    worse: str
    better_first: bool | None = None

    @property
    def prompt(self) -> str:
        """What the two answer: pairs of one prompt belong together."""
        return text_of(self.messages)


@dataclass(frozen=True, slots=True)
class QuestionCase:
    """A question with lettered options in its own words, and the index of the right one."""

    source: str
    question: str
    letters: tuple[str, ...]
    meanings: tuple[str, ...]
    right: int

    def rendered(self) -> Rendered:
        """The question as a judge is sent it."""
        messages = (Message(role="user", content=self.question), Message(role="assistant", content=PREFILL))
        return Rendered(messages, template="", template_hash="", options=self.letters)


@dataclass(frozen=True, slots=True)
class CaseSet:
    """One file's cases. `left_out` counts the rows that are no case, by reason."""

    name: str
    pairs: tuple[PairCase, ...] = ()
    questions: tuple[QuestionCase, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


SEVERAL_TURNS = "the answers part before the last turn"
TIED = "the two are ranked alike"
SAME = "the two are the same"


def read_cases(path: str, limit: int | None = None) -> CaseSet:
    """The cases of one file, or its first `limit` rows'. Raises BadInput where a row is none."""
    name = Path(path).name.partition(".")[0]
    if not _is_questions(path):
        return _pairs(path, name, limit)
    source = PromptSource(path=path)
    rows = itertools.chain.from_iterable(read_rows(item, source) for item in find_inputs(source))
    pairs: list[PairCase] = []
    questions: list[QuestionCase] = []
    for row in itertools.islice(rows, limit):
        if isinstance(row, Fault):
            raise BadInput(row)
        try:
            question = _question(row)
            questions.append(question)
            if "text_correct" in row.values:
                pairs.append(_paper_pair(row, question.right == 0))
        except WrongShape as error:
            raise BadInput(row.fault(error.message, error.hint)) from None
    return CaseSet(name, tuple(pairs), tuple(questions))


def _is_questions(path: str) -> bool:
    """Whether the first row is a question with right and wrong options, as the paper's files have them."""
    source = PromptSource(path=path)
    for item in find_inputs(source):
        for row in read_rows(item, source):
            return isinstance(row, Row) and row.values.keys() >= set(QUESTION)
    return False


def _question(row: Row) -> QuestionCase:
    values = row.values
    if missing := [column for column in QUESTION if column not in values]:
        raise WrongShape(f"a question has no '{missing[0]}'", f"the file's first row has {', '.join(QUESTION)}")
    right, wrong = (_letters(values, column) for column in ("corrects", "incorrects"))
    if len(right) != 1 or not wrong:
        raise WrongShape("a question has one right option and at least one wrong one")
    letters = tuple(sorted([*right, *wrong]))
    text = str(values["prompt"]).rstrip().removesuffix(CLOSING).strip()
    options = {match[1]: match[2].strip() for match in OPTION.finditer(text)}
    meanings = tuple(_shortened(options.get(letter, letter)) for letter in letters)
    return QuestionCase(row.source, text, letters, meanings, letters.index(right[0]))


QUESTION = ("prompt", "corrects", "incorrects")
"""The columns of a question."""
OPTION = re.compile(r"^\s*\((\w)\)\s+(.*)$", re.MULTILINE)


def _letters(values: Mapping[str, Any], column: str) -> list[str]:
    options = values[column] if isinstance(values[column], list) else [None]
    found = [re.fullmatch(r"\s*\((\w)\)\s*", option) if isinstance(option, str) else None for option in options]
    if not all(found):
        raise WrongShape(f"'{column}' is due to hold options such as (A)")
    return [match[1] for match in found if match]


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"


def _paper_pair(row: Row, better_first: bool) -> PairCase:
    if "text_incorrect" not in row.values:
        raise WrongShape("a row has 'text_correct' and no 'text_incorrect'", "give both texts, or neither")
    try:
        split = read_foreign({"chosen": row.values["text_correct"], "rejected": row.values["text_incorrect"]})
    except MissingColumn as error:
        raise WrongShape(error.message, error.hint) from None
    return PairCase(row.source, split.prompt, _answer(split.chosen), _answer(split.rejected), better_first)


def _pairs(path: str, name: str, limit: int | None) -> CaseSet:
    cases: list[PairCase] = []
    left_out = dict.fromkeys((SEVERAL_TURNS, TIED, SAME), 0)
    for pair in itertools.islice(read_pairs(path), limit):
        better, worse = _answer(pair.chosen), _answer(pair.rejected)
        reason = None
        if pair.status == "tie":
            reason = TIED
        elif len(pair.chosen) > 1 or len(pair.rejected) > 1:
            reason = SEVERAL_TURNS
        elif better == worse:
            reason = SAME
        if reason:
            left_out[reason] += 1
        else:
            cases.append(PairCase(pair.source, pair.prompt, better, worse))
    if not cases:
        raise BadInput(Fault("it holds no pair that a judge can be tried on", file=path))
    return CaseSet(name, tuple(cases), left_out={reason: count for reason, count in left_out.items() if count})


def _answer(messages: Sequence[Message]) -> str:
    return messages[-1]["content"].strip()
