"""What a person decided about single pairs, as the map exports it: JSONL with `pair_id` and `decision`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Literal, cast, get_args

from constitution.faults import BadInput, Fault, did_you_mean
from engine.inputs import PromptSource
from engine.inputs.rows import read_rows
from engine.inputs.source import find_inputs
from engine.pairs import Pair, text_of

Decision = Literal["keep", "drop", "relabel"]
"""Each goes before every policy: `keep` keeps the pair as it is, `drop` leaves it out, `relabel` keeps it and turns its
label round."""


def read_decisions(path: str) -> dict[str, Decision]:
    """The decisions by pair. Raises BadInput with the line where one cannot be read or contradicts an earlier one."""
    decisions: dict[str, Decision] = {}
    source = PromptSource(path=path)
    for item in find_inputs(source):
        for row in read_rows(item, source):
            if isinstance(row, Fault):
                raise BadInput(row)
            pair_id, said = row.values.get("pair_id"), row.values.get("decision")
            if not isinstance(pair_id, str):
                raise BadInput(row.fault("there is no pair_id", 'write {"pair_id": "…", "decision": "drop"}'))
            if said not in get_args(Decision):
                raise BadInput(row.fault(f"{said!r} is no decision", did_you_mean(str(said), get_args(Decision))))
            if decisions.setdefault(pair_id, cast("Decision", said)) != said:
                raise BadInput(row.fault(f"pair {pair_id} is decided twice: {decisions[pair_id]} and {said}"))
    return decisions


def check_known(decisions: Mapping[str, Decision], known: Container[str], path: str) -> None:
    """Raises BadInput where a decision is about a pair that is not there: it belongs to other data."""
    strangers = [pair_id for pair_id in decisions if pair_id not in known]
    if strangers:
        message = (
            f"{len(strangers):,} of {len(decisions):,} decisions are about pairs that are not there: {strangers[0]}"
        )
        raise BadInput(Fault(message, file=path, hint="give the data that the decisions were made on"))


def relabelled(pair: Pair) -> Pair:
    """The pair with its label turned round, by a person: how sure and how strong the old label was goes with it.

    The same text twice has no label either way round.
    """
    return replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        probability=None,
        margin=None,
        grade="",
        status="identical" if text_of(pair.chosen) == text_of(pair.rejected) else "given",
        votes=tuple(vote.swap() for vote in pair.votes),
        finish_reasons=tuple(reversed(pair.finish_reasons)),
        chosen_bad=pair.rejected_bad,
        rejected_bad=pair.chosen_bad,
    )
