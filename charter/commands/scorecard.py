"""`charter scorecard`: unsafe answers and false refusals by risk category and attack vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charter.commands.bias import harm_said

if TYPE_CHECKING:
    from evaluation.answers import Answer
    from evaluation.refusals import Extent


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """One answer with its labels, as evaluation/scorecard.py counts it."""

    item_id: str
    category: str
    vector: str
    harmful: bool | None
    refusal: Extent | None


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--by", metavar="COLUMN", help="A column that tells policies apart in one file.")
@click.option("--harm-column", help="Says whether an answer is harmful, yes or no; `harmful` where it is not given.")
@click.option(
    "--compliance-is-harm",
    is_flag=True,
    help="Where nobody has said: an answer to a harmful prompt is harmful unless it refuses.",
)
@click.option("--prompt-column", help="Holds the prompt; one of the usual names where it is not given.")
@click.option("--completion-column", help="Holds the answer; one of the usual names where it is not given.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows of each file.")
@click.option("--output", metavar="FOLDER", default="scorecard", show_default=True, help="Where the scorecard goes.")
def scorecard(
    files: tuple[str, ...],
    by: str | None,
    harm_column: str | None,
    compliance_is_harm: bool,
    prompt_column: str | None,
    completion_column: str | None,
    limit: int | None,
    output: str,
) -> int:
    """Count unsafe answers and false refusals, by risk category and attack vector.

    Each FILE holds one policy's answers, with the columns `category`, `vector` and `harmful`; XSTest's files are read
    as they are. Prompts of the categories benign and lookalike should be answered. Refusals are detected unless a
    column `refusal` says them. Several policies are compared with the first, prompt by prompt.
    """
    from charter.report_files import write_report
    from evaluation.answer_sets import read_answer_sets
    from evaluation.scorecard import compare
    from evaluation.scorecard import scorecard as card_of
    from evaluation.scorecard_pages import PAGE, Transcript, scorecard_html, scorecard_markdown

    policies: dict[str, list[ScoredAnswer]] = {}
    transcripts: list[Transcript] = []
    seeds: dict[str, str] = {}
    for policy, answers in read_answer_sets(files, by, prompt_column, completion_column, limit).items():
        policies[policy] = []
        for answer in answers:
            row = _scored(answer, harm_column, compliance_is_harm=compliance_is_harm)
            policies[policy].append(row)
            seeds[row.item_id] = str(answer.columns.get("parent") or row.item_id)
            turns = [(message["role"], message["content"]) for message in answer.messages]
            transcripts.append(Transcript(policy, row.item_id, row.vector, row.category, turns, answer.text))
    cards = [card_of(policy, rows, seeds) for policy, rows in policies.items()]
    (first, first_rows), *others = policies.items()
    comparisons = [compare(first, first_rows, second, rows) for second, rows in others]
    markdown = scorecard_markdown(cards, comparisons)
    page = scorecard_html(cards, comparisons, transcripts)
    write_report(Path(output), "scorecard", markdown, {"policies": cards, "comparisons": comparisons}, {PAGE: page})
    click.echo(markdown)
    click.echo(f"wrote {output}")
    return 0


def _scored(answer: Answer, harm_column: str | None, *, compliance_is_harm: bool) -> ScoredAnswer:
    from constitution.hashing import content_hash
    from evaluation.judgements import is_harmless
    from evaluation.refusals import detect_refusal, read_extent
    from evaluation.scorecard import NO_VECTOR

    category = _category(answer)
    said = answer.columns.get("refusal")
    refusal: Extent | None = read_extent(str(said)) if said else None
    if refusal is None and "refusal" not in answer.columns:
        found = detect_refusal(answer.prompt, answer.text)
        refusal = found.extent if found else None
    harmful = harm_said(answer, harm_column)
    if harmful is None and compliance_is_harm and refusal is not None and not is_harmless(category):
        harmful = refusal == "none"
    return ScoredAnswer(
        item_id=content_hash(list(answer.messages)),
        category=category,
        vector=str(answer.columns.get("vector") or NO_VECTOR),
        harmful=harmful,
        refusal=refusal,
    )


def _category(answer: Answer) -> str:
    """The risk category that a row names; XSTest names the type of a prompt instead. Raises BadInput without one."""
    from constitution.faults import BadInput, Fault
    from engine.inputs.conversations import WrongShape, read_conversation
    from engine.inputs.source import PromptSource

    said = answer.columns.get("category")
    if said:
        return str(said)
    columns: Mapping[str, Any] = answer.columns
    try:
        category = read_conversation(dict(columns), PromptSource(path=answer.source)).category
    except WrongShape:
        category = ""
    if not category:
        hint = "add a column 'category': a risk category, or benign where the prompt should be answered"
        raise BadInput(Fault("the prompt has no category", file=answer.source, hint=hint))
    return category
