"""`charter drift`: what optimisation did to the way models write."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--by", metavar="COLUMN", help="A column that tells sets apart in one file: a policy, a training step.")
@click.option("--prompt-column", help="Holds the prompt; one of the usual names where it is not given.")
@click.option("--completion-column", help="Holds the answer; one of the usual names where it is not given.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows of each file.")
@click.option("--output", metavar="FOLDER", default="drift-report", show_default=True, help="Where the report goes.")
def drift(
    files: tuple[str, ...],
    by: str | None,
    prompt_column: str | None,
    completion_column: str | None,
    limit: int | None,
    output: str,
) -> int:
    """Compare how sets of answers are written: stock phrases, variety, openers, sermons, refusals, length.

    Each FILE is a set of prompts with their answers; with --by, the values of a column are the sets. A run's folder
    gives its first answers and each round of revision, a watched training's each step, an evaluation's each policy, and
    a loop's all of them. All sets are held against the first.
    """
    from charter.judge import counting
    from charter.report_files import write_report
    from evaluation.answer_sets import observations_of, read_answer_sets
    from evaluation.drift import drift as drift_of
    from evaluation.drift import risen
    from evaluation.drift_pages import drift_markdown

    sets = {
        name: [(answer.prompt, answer.text) for answer in answers]
        for name, answers in read_answer_sets(files, by, prompt_column, completion_column, limit).items()
    }
    first = next(iter(sets.values()))
    figures = {}
    with counting("sets", len(sets)) as done:
        for name, answers in sets.items():
            figures[name] = drift_of(answers)
            done(len(figures))
    more = {name: risen(first, found) for name, found in list(figures.items())[1:]}
    trainings = {name: seen for path in files for name, seen in observations_of(path).items()}
    markdown = drift_markdown(figures, more, trainings)
    write_report(Path(output), "drift", markdown, {"sets": figures, "risen": more, "trainings": trainings})
    click.echo(markdown)
    click.echo(f"wrote {output}")
    return 0
