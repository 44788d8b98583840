"""Which transcripts a report shows: some drawn by the seed whatever came out, and the worst that there is.

An order drawn from the seed and the prompt alone decides, so that nobody picks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from engine.records import RevisedRow, derived_seed
from evaluation.data_figures import TextJudge
from evaluation.judgements import Group, Outcome, group_of
from evaluation.policies import JudgedAnswer
from evaluation.policy_figures import outcome
from evaluation.report.content import Said, Selection, Transcript
from prompts.messages import Message

DRAWN: dict[Group, int] = {"harmful": 6, "harmless": 4}
WORST = 5
CHAINS = 4


def of_policies(
    rows: Sequence[JudgedAnswer], messages: Mapping[str, tuple[Message, ...]], seed: int
) -> tuple[Selection, ...]:
    """Answers of all policies to the same prompts. `rows` are of one temperature, the policies in their order."""
    by_item: dict[str, list[JudgedAnswer]] = {}
    for row in rows:
        by_item.setdefault(row.item_id, []).append(row)
    items = sorted(by_item, key=lambda item: derived_seed(seed, "transcript", item))
    names = list(dict.fromkeys(row.policy for row in rows))
    first, last = names[0], names[-1]
    shown = [_of_policies(item, by_item[item], messages[item]) for item in items]
    found = {each.id: {row.policy: outcome(row) for row in by_item[each.id]} for each in shown}
    selections = []
    for group, most in DRAWN.items():
        mine = [each for each in shown if group_of(each.category) == group]
        rule = f"Drawn by the seed from all {group} prompts, whatever came out."
        selections.append(_selected(f"{group.capitalize()} prompts, drawn at random", rule, mine, most))

    def worst(title: str, rule: str, holds: Callable[[Mapping[str, Outcome]], bool]) -> None:
        selections.append(_selected(title, rule, [each for each in shown if holds(found[each.id])], WORST))

    worst("Harmful answers that are left", f"All harmful answers of {last}.", lambda by: by.get(last) == "harmful")
    worst("False refusals", f"All harmless prompts that {last} refuses.", lambda by: by.get(last) == "refused")
    if first != last:
        worst(
            "What was lost",
            f"All harmless prompts that {first} answers rightly, and {last} does not.",
            lambda by: by.get(first) == "right" and by.get(last) not in ("right", None),
        )
    return tuple(each for each in selections if each.transcripts)


def _selected(title: str, rule: str, transcripts: Sequence[Transcript], most: int) -> Selection:
    return Selection(title, rule, len(transcripts), tuple(transcripts[:most]))


def _of_policies(item: str, rows: Sequence[JudgedAnswer], messages: tuple[Message, ...]) -> Transcript:
    said = tuple(Said(row.policy, row.text, row.fault, outcome(row)) for row in rows)
    return Transcript(item, messages, rows[0].category, rows[0].vector, said)


def of_revisions(step: str, rows: Iterable[RevisedRow], judge: TextJudge | None, seed: int) -> tuple[Selection, ...]:
    """First answers, critiques and revisions: some drawn by the seed, and those that end up harmful where somebody
    judged them."""
    drawn: list[tuple[int, RevisedRow]] = []
    worst: list[tuple[int, RevisedRow]] = []
    count = bad = 0
    for row in rows:
        count += 1
        place = derived_seed(seed, "transcript", row.item_id)
        _keep(drawn, place, row, CHAINS)
        if judge is not None and row.final is not None and judge(row.messages, row.final).harmful:
            bad += 1
            _keep(worst, place, row, WORST)
    selections = (
        Selection(
            f"Revisions, drawn at random ({step})",
            "Drawn by the seed from all rows, whatever came out.",
            count,
            tuple(_of_revision(row, judge) for _, row in drawn),
        ),
        Selection(
            f"Revisions that stay harmful ({step})",
            "All final answers that are harmful.",
            bad,
            tuple(_of_revision(row, judge) for _, row in worst),
        ),
    )
    return tuple(each for each in selections if each.transcripts)


def _keep(kept: list[tuple[int, RevisedRow]], place: int, row: RevisedRow, most: int) -> None:
    """Keeps the rows with the lowest places, so that no more than `most` are in memory."""
    kept.append((place, row))
    kept.sort(key=lambda each: (each[0], each[1].item_id))
    del kept[most:]


def _of_revision(row: RevisedRow, judge: TextJudge | None) -> Transcript:
    group = group_of(row.category)

    def said(who: str, text: str, note: str = "") -> Said:
        found = judge(row.messages, text).outcome(group) if judge is not None and group is not None else None
        return Said(who, text, note, found)

    critiques = {each.round: each for each in row.critiques}
    parts = [said("first answer", row.response.text)]
    for revision in row.revisions:
        critique = critiques.get(revision.round)
        if critique is not None:
            parts.append(Said(f"critique {revision.round}", critique.text, critique.principle_id))
        kept = "" if revision.changed else "kept as it was"
        parts.append(said(f"revision {revision.round}", revision.text, kept))
    return Transcript(f"{row.item_id}-revised", row.messages, row.category, row.vector, tuple(parts))
