"""A judge report as Markdown, with its plots beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from evaluation.estimates import Estimate
from evaluation.judge_report import Floors, PairReport, QuestionReport
from evaluation.markdown import cells, number, plain, ranged, table

CLOSEST = 5
"""Principles that agree most, and least, that are shown."""


def judge_markdown(
    judge: str, asked: Mapping[str, str], reports: Mapping[str, PairReport | QuestionReport | Floors]
) -> str:
    """The whole report. `asked`: what else there is to say of how it was asked. Plots are named `NAME.svg`."""
    lines = [f"# Judge report: {plain(judge) if judge else 'floors alone'}", ""]
    lines += [f"- {plain(name)}: {plain(value)}" for name, value in asked.items()]
    for name, report in reports.items():
        lines += ["", f"## {plain(name)}", ""]
        lines += _section(name, report)
    return "\n".join(lines) + "\n"


def _section(name: str, report: PairReport | QuestionReport | Floors) -> Iterator[str]:
    if isinstance(report, Floors):
        yield from table(("", "value", "95 % interval", "n"), _floor_rows(report))
        return
    rows = [_row("**accuracy**", report.accuracy), *_floor_rows(report.floors)]
    if isinstance(report, PairReport):
        rows += [
            _row("accuracy, better one shown first", report.better_shown_first),
            _row("accuracy, better one shown second", report.better_shown_second),
            _row("same preference in both orders", report.order_consistency),
            _row("votes for the one shown first", report.first_preferred),
            _row("votes that could not be read", report.low_mass),
        ]
    rows += [
        _row("mean option mass", report.mass),
        _row("expected calibration error", report.calibration.error),
        _row("Brier score", report.calibration.brier),
    ]
    yield from table(("", "value", "95 % interval", "n"), rows)
    yield ""
    if isinstance(report, PairReport):
        yield f"Undecided, since no principle was read in both orders: {report.undecided} of {report.pairs} pairs."
    else:
        yield f"Not answered readably: {report.unread} of {report.questions} questions."
    yield f"\n![reliability]({quote(name)}.svg)"
    yield from _principles(report) if isinstance(report, PairReport) else _classes(report)


def _floor_rows(floors: Floors) -> list[tuple[str, ...]]:
    named = (
        ("floor: always the first", floors.always_first),
        ("floor: the longer answer", floors.choose_longer),
        ("floor: the commonest", floors.commonest),
    )
    return [_row(name, estimate) for name, estimate in named if estimate.value is not None]


def _principles(report: PairReport) -> Iterator[str]:
    yield "\n### Principles\n"
    rows = [
        (each.principle_id, *cells(each.decided), *cells(each.accuracy), ranged(each.confidence))
        for each in report.principles
    ]
    heading = ("principle", "decides", "95 % interval", "n", "accuracy", "95 % interval", "n", "confidence")
    yield from table(heading, rows)
    yield f"\nNever deciding: {', '.join(report.never_deciding) or 'none'}."
    if report.never_read:
        yield f"\nNever read in both orders: {', '.join(report.never_read)}."
    judged = sorted((each for each in report.agreement if each.same.n), key=lambda each: each.same.value or 0)
    if not judged:
        return
    shown = judged if len(judged) <= 2 * CLOSEST else [*judged[:CLOSEST], *judged[-CLOSEST:]]
    yield "\n### Agreement between principles, lowest and highest\n"
    pairs = [(each.first, each.second, *cells(each.same), number(each.kappa)) for each in shown]
    yield from table(("principle", "principle", "same preference", "95 % interval", "n", "kappa"), pairs)


def _classes(report: QuestionReport) -> Iterator[str]:
    if not report.classes:
        return
    yield "\n### Classes\n"
    classes = [(plain(each.meaning), *cells(each.recall), *cells(each.precision)) for each in report.classes]
    yield from table(("class", "found", "95 % interval", "n", "right where chosen", "95 % interval", "n"), classes)


def _row(name: str, found: Estimate) -> tuple[str, ...]:
    return (name, *cells(found))
