"""`README.md` of an export: a data set's card, with the trainer's instructions and what the format loses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from charter.card import RunFacts, licence_parts, made_lines, origin_lines
from charter.card_parts import (
    WARNING,
    cell,
    data_header,
    licence_lines,
    limit_lines,
    sample_block,
    table,
)
from engine.exporters.export import ExportReport, usage


def export_card(report: ExportReport, facts: RunFacts | None, licence: str | None = None) -> str:
    """The card as Markdown. `facts` are those of the run that was exported; None for other sources."""
    source = PurePath(report.source).name
    name = facts.recipe.name if facts else source
    rows = sum(kind.rows for kind in report.kinds.values())
    parts = licence_parts(facts) if facts else {source: "as its publisher says"}
    return "\n".join(
        (
            data_header(name, licence, rows, _configs(report)),
            "",
            f"# {cell(name)}, for {report.title}",
            "",
            WARNING,
            "",
            *(made_lines(facts) if facts else (f"Exported by Charter from `{cell(source)}`.", "")),
            *_file_lines(report),
            *(line for kind in report.kinds for line in _kind_lines(report, kind)),
            *(origin_lines(facts) if facts else ()),
            *licence_lines(licence, parts),
            *limit_lines(),
            "",
        )
    )


def _configs(report: ExportReport) -> list[dict[str, Any]]:
    """One configuration a kind of data, for those that lie in tables; a JSON document is none."""
    configs: list[dict[str, Any]] = [
        {
            "config_name": kind,
            "data_files": [{"split": file.split_name, "path": file.name} for file in found.files],
        }
        for kind, found in report.kinds.items()
        if not found.files[0].name.endswith(".json")
    ]
    for first in configs[:1]:
        first["default"] = True
    return configs


def _file_lines(report: ExportReport) -> Iterator[str]:
    yield from table(
        ["data", "split", "file", "rows"],
        [
            (kind, file.split_name, f"`{file.name}`", f"{file.rows:,}")
            for kind, found in report.kinds.items()
            for file in found.files
        ],
    )
    asked = report.settings
    if asked.test:
        yield (
            f"Prompts went into train or test as groups of equal, nearly equal and continued ones, {asked.test:.0%} of "
            f"the groups into test, by the hash of a prompt and the seed {asked.seed}."
        )
        yield ""
    if asked.decontaminate:
        names = ", ".join(f"`{cell(PurePath(path).name)}`" for path in asked.decontaminate)
        yield f"Rows that hold a prompt of {names} were left out."
        yield ""


def _kind_lines(report: ExportReport, kind: Any) -> Iterator[str]:
    found = report.kinds[kind]
    yield f"## {kind}"
    yield ""
    yield "```"
    yield usage(found, ".")
    yield "```"
    yield ""
    yield from (f"- {note}" for note in found.notes)
    if found.notes:
        yield ""
    if found.left_out:
        yield from table(
            ["left out because", "rows"], [(cell(reason), f"{count:,}") for reason, count in found.left_out.items()]
        )
    yield from sample_block(report.sample[kind])
