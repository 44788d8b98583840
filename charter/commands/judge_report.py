"""`charter judge-report`: how good a judge is, on cases that people have decided."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from charter.commands.options import API_KEY, BACKEND, model_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from constitution import Constitution, Principle
    from evaluation.judge_cases import CaseSet
    from evaluation.judge_report import Floors, PairReport, QuestionReport
    from evaluation.verdicts import Verdict
    from prompts.rendering import PromptSet, Rendered

    Report: TypeAlias = PairReport | QuestionReport | Floors


@click.command("judge-report")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--model", help="The judge: a folder, a hub id, a served name, or a script. Without it, floors alone.")
@BACKEND
@API_KEY
@click.option("--constitution", default="harmlessness", show_default=True, help="A name or a file.")
@click.option("--principle", "principle_ids", multiple=True, help="Only this principle; may be given several times.")
@click.option(
    "--layout",
    type=click.Choice(["shared_first", "paper"]),
    default="shared_first",
    show_default=True,
    help="The principle last, so that all share a cached prefix, or in the paper's place.",
)
@click.option("--few-shots/--no-few-shots", default=True, show_default=True, help="Send worked examples.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many rows of each file.")
@click.option("--output", metavar="FOLDER", default="judge-report", show_default=True, help="Where the report goes.")
def judge_report(
    files: tuple[str, ...],
    model: str | None,
    backend: str,
    base_url: str | None,
    api_key_env: str | None,
    constitution: str,
    principle_ids: tuple[str, ...],
    layout: str,
    few_shots: bool,
    limit: int | None,
    output: str,
) -> int:
    """Try a judge on FILEs of pairs and questions that people have decided.

    Each FILE holds preference pairs in any form that Charter reads (hh-rlhf, TRL, …), the Constitutional AI paper's HHH
    comparisons, or its harmfulness classes. Every pair is judged under every principle in both orders. What the judge
    says is kept in the folder: the same command goes on where it was stopped.
    """
    from charter.judge import judge_verdicts
    from charter.report_files import write_report
    from constitution.loading import load_constitution
    from evaluation.judge_cases import read_cases
    from evaluation.judge_pages import judge_markdown
    from prompts.rendering import PromptSet

    sets = _distinct([read_cases(path, limit) for path in files])
    loaded = load_constitution(constitution)
    principles = _principles(loaded, principle_ids)
    asking = PromptSet.load(use_few_shots=few_shots, layout="paper" if layout == "paper" else "shared_first")
    folder = _folder(output)
    asked: dict[str, str] = {}
    if model is None:
        reports = _floors(sets)
    else:
        questions = [question for cases in sets for question in _questions(cases, principles, asking)]
        click.echo(f"{len(questions):,} questions to {model}", err=True)
        spec = model_spec(model, backend, base_url, api_key_env)
        verdicts = judge_verdicts(spec, questions, folder / "verdicts.jsonl")
        reports = _reports(sets, principles, verdicts)
        asked = {"constitution": f"{loaded.name} {loaded.version}, hash {loaded.hash}", "layout": layout}
    asked |= {cases.name: _said(cases) for cases in sets}
    markdown = judge_markdown(model or "", asked, reports)
    write_report(folder, "judge_report", markdown, {"judge": model, "asked": asked, "sets": reports}, _plots(reports))
    click.echo(markdown)
    click.echo(f"wrote {folder}")
    return 0


def _distinct(sets: list[CaseSet]) -> list[CaseSet]:
    """The sets with a name each: two files may be called alike."""
    from dataclasses import replace

    names = [cases.name for cases in sets]
    return [
        replace(cases, name=f"{cases.name}-{names[: place + 1].count(cases.name)}")
        if cases.name in names[:place]
        else cases
        for place, cases in enumerate(sets)
    ]


def _principles(constitution: Constitution, ids: tuple[str, ...]) -> list[Principle]:
    from constitution.faults import BadInput, Fault

    chosen = [constitution.principle(name) for name in ids] or list(constitution.for_comparison())
    silent = [principle.id for principle in chosen if not principle.comparison]
    if silent or not chosen:
        who = f"principle '{silent[0]}'" if silent else constitution.name
        raise BadInput(Fault("it has no 'comparison' text, so no pair can be judged by it", where=who))
    return chosen


def _folder(output: str) -> Path:
    from constitution.faults import BadInput, Fault

    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(Fault(f"the folder cannot be made: {error.strerror}", file=output, where="--output")) from None
    return folder


def _questions(cases: CaseSet, principles: Sequence[Principle], asking: PromptSet) -> list[Rendered]:
    from evaluation.judge_report import pair_questions

    return [*pair_questions(cases.pairs, principles, asking), *(case.rendered() for case in cases.questions)]


def _reports(
    sets: Sequence[CaseSet], principles: Sequence[Principle], verdicts: Sequence[Verdict]
) -> dict[str, Report]:
    """The report on each set; one that holds pairs and questions has two."""
    from evaluation.judge_report import ORDERS, pair_report, question_report

    rest = list(verdicts)
    found: dict[str, Report] = {}
    for cases in sets:
        count = len(cases.pairs) * len(principles) * ORDERS
        mine, rest = rest[:count], rest[count:]
        if cases.pairs:
            found[cases.name] = pair_report(cases.pairs, principles, mine)
        mine, rest = rest[: len(cases.questions)], rest[len(cases.questions) :]
        if cases.questions:
            found[_question_name(cases)] = question_report(cases.questions, mine)
    return found


def _floors(sets: Sequence[CaseSet]) -> dict[str, Report]:
    from evaluation.judge_report import pair_floors, question_floors

    found: dict[str, Report] = {}
    for cases in sets:
        if cases.pairs:
            found[cases.name] = pair_floors(cases.pairs)
        if cases.questions:
            found[_question_name(cases)] = question_floors(cases.questions)
    return found


def _question_name(cases: CaseSet) -> str:
    return f"{cases.name}-as-written" if cases.pairs else cases.name


def _said(cases: CaseSet) -> str:
    """How many cases a set holds, and what was left out."""
    counts = [f"{len(cases.pairs):,} pairs"] if cases.pairs else []
    counts += [f"{len(cases.questions):,} questions in their own words"] if cases.questions else []
    return ", ".join([*counts, *(f"{count:,} left out ({reason})" for reason, count in cases.left_out.items())])


def _plots(reports: dict[str, Report]) -> dict[str, str]:
    from evaluation.drawing import reliability_plot
    from evaluation.judge_report import Floors, PairReport

    return {
        f"{name}.svg": reliability_plot(report.calibration, low=0.5 if isinstance(report, PairReport) else 0.0)
        for name, report in reports.items()
        if not isinstance(report, Floors)
    }
