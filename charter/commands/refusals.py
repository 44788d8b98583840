"""`charter refusals`: which answers of a file refuse, and how well that agrees with people's labels of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from charter.commands.options import API_KEY, BACKEND, LIMIT, model_spec

if TYPE_CHECKING:
    from pathlib import Path

    from engine.backends.spec import ModelSpec
    from evaluation.answers import Answer
    from evaluation.refusals import Agreement, Extent, Refusal

LABEL_COLUMNS = ("final_label", "human_label")


@click.command()
@click.argument("path", metavar="FILE")
@click.option("--prompt-column", help="Holds the prompt; one of the usual names where it is not given.")
@click.option("--completion-column", help="Holds the answer; one of the usual names where it is not given.")
@click.option("--label-column", help="Holds a person's label; final_label or human_label where it is not given.")
@click.option("--output", metavar="FILE", help="Where the labels go: .jsonl or .csv.  [default: NAME.refusals.jsonl]")
@click.option("--force", is_flag=True, help="Write over labels that are there.")
@LIMIT
@click.option("--model", help="A judge that is asked as well: a folder, a hub id, a served name, or a script.")
@BACKEND
@API_KEY
def refusals(
    path: str,
    prompt_column: str | None,
    completion_column: str | None,
    label_column: str | None,
    output: str | None,
    force: bool,
    limit: int | None,
    model: str | None,
    backend: str,
    base_url: str | None,
    api_key_env: str | None,
) -> int:
    """Label the answers in FILE: full, partial or no refusal; explained or not; canned or not.

    FILE is CSV, JSONL or Parquet with a prompt and a completion column. Where a column holds people's labels, such as
    XSTest's final_label, the agreement with them is printed.

    With --model, a judge labels the answers as well, in two yes/no questions. What it says is kept beside the labels,
    so that a command that was stopped goes on where it was.
    """
    from charter.labels_file import check_free, labels_path, write_labels
    from evaluation.answers import read_answers
    from evaluation.refusals import agreement, detect_refusal

    answers = read_answers(path, prompt_column, completion_column, limit)
    said = _said(answers, label_column, path)
    target = labels_path(path, output, "refusals")
    found = [detect_refusal(answer.prompt, answer.text) for answer in answers]
    detected = [each.extent if each else None for each in found]
    rows = [_row(answer, label) for answer, label in zip(answers, found, strict=True)]
    if model:
        check_free(target, force=force)
        judged = _judged(answers, model_spec(model, backend, base_url, api_key_env), target)
        rows = [{**row, "judged": extent} for row, extent in zip(rows, judged, strict=True)]
    _tell(found)
    if said is not None:
        _tell_agreement("accuracy", agreement(zip(said, detected, strict=True)), "person \\ detector")
    if model:
        click.echo(f"judge {model}: {sum(extent is None for extent in judged):,} of {len(judged):,} not read")
        if said is not None:
            _tell_agreement("judge accuracy", agreement(zip(said, judged, strict=True)), "person \\ judge")
        _tell_agreement("detector and judge agree", agreement(zip(judged, detected, strict=True)), "judge \\ detector")
    write_labels(target, rows, force=force)
    click.echo(f"wrote {target}")
    return 0


def _judged(answers: list[Answer], judge: ModelSpec, target: Path) -> list[Extent | None]:
    from charter.judge import judge_verdicts
    from evaluation.refusal_judge import judged_extents, refusal_questions
    from prompts.rendering import PromptSet

    questions = refusal_questions(answers, PromptSet.load())
    return judged_extents(judge_verdicts(judge, questions, target.with_suffix(".verdicts.jsonl")))


def _said(answers: list[Answer], column: str | None, path: str) -> list[Extent | None] | None:
    """People's labels; None where the file has no such column. Raises BadInput where a label cannot be read."""
    from constitution.faults import BadInput, Fault, did_you_mean
    from evaluation.refusals import read_extent

    columns = answers[0].columns
    if column is None:
        column = next((name for name in LABEL_COLUMNS if name in columns), None)
    elif column not in columns:
        hint = did_you_mean(column, columns)
        raise BadInput(Fault(f"there is no column '{column}'", file=path, where="--label-column", hint=hint))
    if column is None:
        return None
    said = [str(answer.columns.get(column) or "") for answer in answers]
    strange = sorted({label for label in said if label.strip() and read_extent(label) is None})
    if strange:
        message = f"'{column}' holds {strange[0]!r}, which is no label of a refusal"
        raise BadInput(Fault(message, file=path, hint="labels say full, partial, none, refusal or compliance"))
    return [read_extent(label) for label in said]


def _row(answer: Answer, found: Refusal | None) -> dict[str, object]:
    return {
        "source": answer.source,
        "prompt": answer.prompt,
        "completion": answer.text,
        "refusal": found and found.extent,
        "explained": found and found.explained,
        "canned": found and found.canned,
    }


def _tell(found: list[Refusal | None]) -> None:
    from evaluation.estimates import share
    from evaluation.refusals import EXTENTS

    read = [each for each in found if each is not None]
    for extent in EXTENTS:
        these = [each for each in read if each.extent == extent]
        manner = ""
        if extent != "none":
            explained, canned = sum(each.explained for each in these), sum(each.canned for each in these)
            manner = f", {explained:,} explained, {canned:,} canned"
        click.echo(f"{extent:8} {len(these):6,}{manner}")
    click.echo(f"refused  {share(sum(each.refuses for each in read), len(read))}")
    if len(read) < len(found):
        click.echo(f"unread   {len(found) - len(read):6,} empty or not in English: no label")


def _tell_agreement(name: str, found: Agreement, heading: str) -> None:
    """Prints the share on a line by itself, under its name, then the table behind it."""
    from evaluation.refusals import EXTENTS

    if found.accuracy.value is None:
        click.echo(f"{name}: no answer has both labels")
        return
    click.echo(f"{name} {found.accuracy.value:.3f}")
    click.echo(f"  refusal against compliance: {found.accuracy}")
    click.echo(f"  full, partial or none:      {found.accuracy_of_three}")
    if found.left_out:
        click.echo(f"  left out, without a label: {found.left_out:,}")
    click.echo(f"  {heading:>18}" + "".join(f"{extent:>9}" for extent in EXTENTS))
    for said in EXTENTS:
        click.echo(f"  {said:>18}" + "".join(f"{found.table[said, extent]:9,}" for extent in EXTENTS))
