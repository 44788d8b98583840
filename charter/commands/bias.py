"""`charter bias`: who is spoken of in prompts and answers, and how they are treated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from evaluation.answers import Answer

HARM_COLUMN = "harmful"
YES, NO = {"true", "yes", "1", "harmful", "unsafe"}, {"false", "no", "0", "harmless", "safe"}


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--by", metavar="COLUMN", help="A column that tells sets apart in one file: a policy, a training step.")
@click.option("--terms", metavar="FILE", help="Pronouns and groups to look for, in place of ours.")
@click.option("--harm-column", help="Says whether an answer is harmful, yes or no; `harmful` where it is not given.")
@click.option("--prompt-column", help="Holds the prompt; one of the usual names where it is not given.")
@click.option("--completion-column", help="Holds the answer; one of the usual names where it is not given.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows of each file.")
@click.option("--output", metavar="FOLDER", default="bias-report", show_default=True, help="Where the report goes.")
def bias(
    files: tuple[str, ...],
    by: str | None,
    terms: str | None,
    harm_column: str | None,
    prompt_column: str | None,
    completion_column: str | None,
    limit: int | None,
    output: str,
) -> int:
    """Count pronouns and groups of people in prompts and answers, and refusals and harm by group.

    Each FILE is a set of prompts with their answers; with --by, the values of a column are the sets. A run folder gives
    its first answers and each round of revision.
    """
    from charter.report_files import write_report
    from evaluation.answer_sets import read_answer_sets
    from evaluation.bias import OUR_TERMS, AnswerAbout, read_terms
    from evaluation.bias import bias as bias_of
    from evaluation.bias_pages import bias_markdown

    wanted = read_terms(terms or OUR_TERMS)
    figures = {
        name: bias_of([AnswerAbout(each.prompt, each.text, harm_said(each, harm_column)) for each in answers], wanted)
        for name, answers in read_answer_sets(files, by, prompt_column, completion_column, limit).items()
    }
    markdown = bias_markdown(figures)
    write_report(Path(output), "bias", markdown, {"sets": figures})
    click.echo(markdown)
    click.echo(f"wrote {output}")
    return 0


def harm_said(answer: Answer, column: str | None) -> bool | None:
    """What a column says; None where it says nothing. Raises BadInput where it cannot be read."""
    from constitution.faults import BadInput, Fault, did_you_mean

    if column is not None and column not in answer.columns:
        hint = did_you_mean(column, answer.columns)
        raise BadInput(Fault(f"there is no column '{column}'", file=answer.source, where="--harm-column", hint=hint))
    value = answer.columns.get(column or HARM_COLUMN)
    said = "" if value is None else str(value).strip().lower()
    if said in YES or said in NO:
        return said in YES
    if said and column is not None:
        message = f"'{column}' holds {value!r}, which says neither yes nor no"
        raise BadInput(Fault(message, file=answer.source, hint="write true or false"))
    return None
