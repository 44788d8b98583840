"""One pair with everything behind it, for `charter show`. All text is shown as text (charter/showing.py)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from charter.flagging import flag_settings, flags_of
from charter.provenance import SIDES, Provenance, Question
from charter.showing import printable, shortened
from constitution.difference import words_changed
from constitution.faults import BadInput, Fault
from engine.flags import PairFlags
from engine.pairs import Pair, chosen_as_a, find_comparison, is_run_folder, read_pairs, text_of
from engine.policies import treatment
from engine.records import Comparison, Vote, as_row
from engine.settings import FlagSettings
from engine.storage import Folder

MOST_COMPARED = 20_000
"""Letters of an answer up to which its differences from the other are marked: comparing takes the square of it."""
LEAST_SHARED = 0.4
"""Of the shorter answer's letters, so many must be shared: between unrelated texts every other word is a difference."""
IDS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Story:
    """A pair, its flags, and for a run's pair the row behind it with every question that was asked."""

    pair: Pair
    flags: PairFlags
    settings: FlagSettings
    comparison: Comparison | None = None
    questions: tuple[Question, ...] = ()


def find_story(where: str, asked: str, *, split: str | None = None) -> Story:
    """The pair with this id, or whose id alone begins with it. Raises BadInput."""
    folder = Folder(where)
    pair = _find(where, asked, split)
    settings = flag_settings(folder)
    flags = next(each for each in flags_of(folder, settings, split=split) if each.pair_id == pair.pair_id)
    row = find_comparison(folder, pair.pair_id) if is_run_folder(folder) else None
    if row is None:
        return Story(pair, flags, settings)
    comparison = chosen_as_a(row)
    return Story(pair, flags, settings, comparison, tuple(Provenance(folder).questions(comparison)))


def _find(where: str, asked: str, split: str | None) -> Pair:
    alike: list[Pair] = []
    for pair in read_pairs(where, split=split):
        if pair.pair_id == asked:
            return pair
        if pair.pair_id.startswith(asked):
            alike.append(pair)
    if len(alike) == 1:
        return alike[0]
    if alike:
        named = ", ".join(pair.pair_id for pair in alike[:IDS_NAMED])
        raise BadInput(Fault(f"{len(alike):,} pairs begin with '{asked}'", where=where, hint=f"such as {named}"))
    raise BadInput(
        Fault(f"there is no pair '{asked}'", where=where, hint="charter pairs lists the ids of flagged pairs")
    )


def as_json_value(story: Story) -> dict[str, Any]:
    """The whole story in JSON's types."""
    return {
        "pair": as_row(story.pair),
        "flags": as_row(story.flags.flags),
        "unknown_flags": list(story.flags.unknown),
        "comparison": None if story.comparison is None else as_row(story.comparison),
        "questions": [dataclasses.asdict(question) for question in story.questions],
    }


def tell_story(story: Story, *, full: bool, console: Console | None = None) -> None:
    """The pair from its label down to what was sent."""
    console = console or Console()
    console.print(Rule(Text(f"pair {story.pair.pair_id}")))
    grid = Table.grid(padding=(0, 2))
    for name, said in _heading(story):
        grid.add_row(Text(name, style="bold"), Text(printable(said)))
    console.print(grid)
    for message in story.pair.prompt:
        console.print(_panel(message["role"], message["content"], full))
    console.print(_side_by_side(story.pair, full, console))
    for flag in story.flags.flags:
        policy = getattr(story.settings.policies, flag.name)
        console.print(Text.assemble("flag ", (flag.name, "bold red"), f" ({policy}): {printable(flag.detail)}"))
    if story.pair.votes:
        console.print(_votes(story.pair.votes))
    _tell_questions(story.questions, full, console)


def _heading(story: Story) -> Iterator[tuple[str, str]]:
    pair = story.pair
    label = {
        "decided": f"chosen is better with probability {pair.probability or 0:.3f}",
        "given": "given by the source"
        + (f", probability {pair.probability:.3f}" if pair.probability is not None else ""),
        "tie": "a tie",
        "undecided": "none: no vote could be read",
        "identical": "none: the answers are the same",
    }[pair.status]
    yield "label", label
    made = treatment(story.flags.names, story.settings)
    if made.policy != "keep":
        yield "policy", f"{made.policy}, because of {', '.join(made.because)}"
    yield "from", pair.source
    yield "prompt", f"{pair.item_id}, number {pair.index}"
    tags = [f"{name} {tag}" for name, tag in (("category", pair.category), ("vector", pair.vector)) if tag]
    if tags:
        yield "tags", ", ".join(tags)
    if pair.constitution_hash:
        yield "constitution", pair.constitution_hash
    if story.comparison is not None:
        row = story.comparison
        for name, response in (("chosen", row.response_a), ("rejected", row.response_b)):
            call = response.call
            drawn = f"temperature {call.temperature:g}, seed {call.seed}, {call.completion_tokens} tokens"
            yield name, f"{call.model} ({call.revision}), {drawn}, {call.finish_reason}"


def _panel(title: str, text: str, full: bool) -> Panel:
    return Panel(Text(shortened(text, full=full)), title=title, title_align="left")


def _side_by_side(pair: Pair, full: bool, console: Console) -> Table:
    """Both answers; where they share enough, the words that only one of them has are marked."""
    chosen, rejected = text_of(pair.chosen), text_of(pair.rejected)
    table = Table("chosen", "rejected", expand=True)
    for column in table.columns:
        column.ratio = 1
    parts = list(words_changed(rejected, chosen)) if max(len(chosen), len(rejected)) <= MOST_COMPARED else []
    shared = sum(len(words) for kind, words in parts if kind == "same")
    if shared < LEAST_SHARED * min(len(chosen), len(rejected)) or not shared:
        table.add_row(*(Text(shortened(text, full=full)) for text in (chosen, rejected)))
        return table
    opening, closing = ("", "") if console.color_system else ("[", "]")
    sides = []
    for side, colour in (("new", "green"), ("old", "red")):
        text = Text()
        for kind, words in parts:
            if kind == "same":
                text.append(printable(words))
            elif kind == side:
                text.append(f"{opening}{printable(words)}{closing}", colour)
        sides.append(text)
    table.add_row(*sides)
    return table


def _votes(votes: tuple[Vote, ...]) -> Table:
    table = Table(
        "principle", "shown as (A)", "P(chosen better)", "mass", "prefers", title="Votes", title_justify="left"
    )
    for vote in votes:
        probability = "-" if vote.probability_a is None else f"{vote.probability_a:.3f}"
        mass = "-" if vote.mass is None else f"{vote.mass:.3f}"
        better = "" if vote.probability_a is None else "chosen" if vote.probability_a > 0.5 else "rejected"
        said = Text(printable(vote.fault or better))
        table.add_row(vote.principle_id, SIDES[vote.order[0]], probability, mass, said)
    return table


def _tell_questions(questions: Sequence[Question], full: bool, console: Console) -> None:
    """What was sent and what came back. Unless `full`, the first of each kind but the request for the answers, which is
    the prompt shown above."""
    told = set[str]() if full else {"respond"}
    left_out = 0
    for question in questions:
        kind = question.call.step if question.call else "unanswered"
        if not full and kind in told:
            left_out += kind != "respond"
            continue
        told.add(kind)
        console.print(Rule(Text(printable(question.title))))
        _tell_question(question, full, console)
    if left_out:
        console.print(Text(f"{left_out} more questions of these kinds were asked; --full shows them"))


def _tell_question(question: Question, full: bool, console: Console) -> None:
    few_shots = 0 if full else len(question.messages) - question.own
    sent = Text()
    if question.missing:
        sent.append(f"[cannot be shown: {question.missing}]", style="italic")
    elif few_shots:
        sent.append(f"[{few_shots} messages of few-shots come first; --full shows them]\n", style="italic")
    for message in question.messages[few_shots:]:
        sent.append(f"{message['role']}: ", style="bold")
        sent.append(shortened(message["content"], full=full) + "\n")
    console.print(Panel(sent, title="sent", title_align="left", style="dim"))
    console.print(_panel("said", question.answer, full))
    if question.call is not None:
        call = question.call
        tokens = f"{call.prompt_tokens} prompt tokens, {call.completion_tokens} generated, {call.finish_reason}"
        console.print(Text(f"  {printable(call.model)} ({call.revision}), template {call.template_hash}, {tokens}"))
