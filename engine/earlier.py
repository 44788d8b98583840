"""What an earlier run of the compare stage found, so that nothing is asked twice.

    earlier run, stage 03_compare ─► by item ─► answers · votes · checks whose question, model and draw are the same

An answer is taken over where the prompt, the way it was asked, the weights, the sampling and the seed are the same; a
vote where also both answers and the words of the principle's question are; a check likewise by its proposition. So
editing a principle asks again only what was asked under it, and a better judge asks everything again but the answers.
What is taken over keeps its calls, marked as reused: they cost this run nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from constitution.schema import Principle
from engine.model import Model, Sampling
from engine.records import Call, Check, Comparison, Position, Response, Vote, from_row
from engine.storage import StageStore

BY_CONTENT = re.compile(r"^(sha256-[0-9a-f]{16}|[0-9a-f]{40})$")
"""Revisions that identify weights wherever they lie; under any other, the model's name must be the same, too."""


@dataclass(frozen=True)
class Earlier:
    """An earlier run's compare stage, and what of it may be taken over at all. Crosses Ray."""

    store: StageStore
    questions: Mapping[str, str]
    """Principle hash: the question it asked; empty where votes may not be taken over."""
    propositions: frozenset[str]
    """Ids of the propositions whose words are still the same."""
    answers: bool = True
    """Whether answers may be taken over."""

    def open(self) -> EarlierRows:
        """Reads which item is where."""
        return EarlierRows(self)


class EarlierRows:
    """The rows of an earlier run, by item. A part of the stage is in memory at a time: items come in input order."""

    def __init__(self, earlier: Earlier) -> None:
        self.earlier = earlier
        self._places: dict[str, tuple[str, list[int]]] = {}
        for part in earlier.store.parts:
            for row, item in enumerate(earlier.store.folder.read_table(part, ["item_id"])["item_id"].to_pylist()):
                self._places.setdefault(item, (part, []))[1].append(row)
        self._part: tuple[str, pa.Table | None] = ("", None)

    def known(self, item_id: str) -> Known:
        """What is known of an item."""
        part, rows = self._places.get(item_id, ("", []))
        if not rows:
            return NOTHING
        name, table = self._part
        if table is None or name != part:
            table = self.earlier.store.folder.read_table(part)
            self._part = (part, table)
        return known_of([from_row(Comparison, row) for row in table.take(rows).to_pylist()], self.earlier)


@dataclass(frozen=True)
class Known:
    """What an earlier run knows of one item."""

    responses: Mapping[int, Response] = field(default_factory=dict)
    """By sample."""
    votes: Mapping[tuple[str, str, Position], Sequence[Vote]] = field(default_factory=dict)
    """By pair, question and order, in the order they were asked."""
    checks: Mapping[tuple[str, str], Check] = field(default_factory=dict)
    """By answer and proposition."""

    def response(self, sample: int, model: Model, template_hash: str, sampling: Sampling) -> Response | None:
        """The answer that this draw would give."""
        found = self.responses.get(sample)
        if found is None or not same_model(found.call, model) or found.call.template_hash != template_hash:
            return None
        drawn = (found.call.seed, found.call.temperature, found.call.top_p, found.call.max_tokens)
        wanted = (sampling.seed, sampling.temperature, sampling.top_p, sampling.max_tokens)
        return replace(found, call=replace(found.call, reused=True)) if drawn == wanted else None

    def vote(
        self, pair_id: str, principle: Principle, order: Position, sample: int, judge: Model, template_hash: str
    ) -> Vote | None:
        """The judgement that this question gave."""
        found = self.votes.get((pair_id, principle.comparison or "", order), ())
        vote = found[sample] if sample < len(found) else None
        if vote is None or vote.probability_a is None:
            return None
        last = vote.calls[-1]
        if not same_model(last, judge) or last.template_hash != template_hash:
            return None
        calls = tuple(replace(call, reused=True) for call in vote.calls)
        return replace(vote, principle_id=principle.id, principle_hash=principle.hash, calls=calls)

    def check(self, response: Any, text: str, proposition_id: str, judge: Model, template_hash: str) -> Check | None:
        """What this proposition found of this answer. `response` is its name in the pair: a or b."""
        found = self.checks.get((text, proposition_id))
        if found is None or found.bad is None or found.call is None:
            return None
        if not same_model(found.call, judge) or found.call.template_hash != template_hash:
            return None
        return replace(found, response=response, call=replace(found.call, reused=True))


NOTHING = Known()
"""What is known of an item that no earlier run had."""


def known_of(rows: Sequence[Comparison], earlier: Earlier) -> Known:
    """What the rows of one item hold."""
    responses: dict[int, Response] = {}
    votes: dict[tuple[str, str, Position], list[Vote]] = {}
    checks: dict[tuple[str, str], Check] = {}
    for row in rows:
        for response in (row.response_a, row.response_b) if earlier.answers else ():
            responses.setdefault(response.sample, response)
        for vote in row.votes:
            question = earlier.questions.get(vote.principle_hash)
            if question is not None:
                votes.setdefault((row.pair_id, question, vote.order), []).append(vote)
        texts = {"a": row.response_a.text, "b": row.response_b.text}
        for check in row.checks:
            if check.proposition_id in earlier.propositions:
                checks.setdefault((texts[check.response], check.proposition_id), check)
    return Known(responses, votes, checks)


def same_model(call: Call, model: Model) -> bool:
    """Whether the weights that answered are those of the model."""
    return call.revision == model.revision and (call.model == model.name or bool(BY_CONTENT.match(call.revision)))
