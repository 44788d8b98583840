"""`charter constitution …`: everything one does with a constitution before a model is asked anything.

check     faults and advice        show     the principles in a table, or one in full
diff      what an edit changes     schema   the JSON Schema, for editors
import    from other formats         render, test: see charter/commands/asking.py
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from charter.commands.asking import render, test
from constitution.faults import BadInput, Fault

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from constitution.difference import Change, Difference
    from constitution.schema import Constitution, Principle

TEXTS = ("critique", "revision", "comparison")
CONSTITUTION = "A built-in name, such as harmlessness, or the path of a YAML file."


@click.group("constitution")
def group() -> None:
    """Check, show, render, test, compare and import constitutions.

    A constitution is a built-in name (see `charter constitution show`) or the path of a YAML file.
    """


group.add_command(render)
group.add_command(test)


@group.command()
@click.argument("constitutions", metavar="PATH...", nargs=-1, required=True)
@click.option("--strict", is_flag=True, help="Treat advice as faults: exit status 2.")
def check(constitutions: tuple[str, ...], strict: bool) -> None:
    """Find faults, and give advice.

    Prints each with its file, line and column. The exit status is 2 where there are faults.
    """
    from constitution.lint import own_findings
    from constitution.loading import constitution_path, resolve
    from constitution.yaml_files import read_document
    from engine.printable import printable

    faults: list[Fault] = []
    for name in constitutions:
        try:
            path = constitution_path(name)
            document = read_document(path)
            constitution = resolve(document, path)
        except BadInput as error:
            faults += error.faults
            continue
        findings = own_findings(constitution, document)
        if strict:
            faults += [replace(each, where=each.where.removeprefix("warning").removeprefix(": ")) for each in findings]
        else:
            for finding in findings:
                click.echo(printable(str(finding)))
        click.echo(f"{name}: {_summary(constitution)}: {_counted(len(findings), 'warning') if findings else 'fine'}")
    if faults:
        raise BadInput(faults)


@group.command()
@click.argument("constitution", metavar="[NAME]", required=False)
@click.argument("principle", metavar="[PRINCIPLE]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def show(constitution: str | None, principle: str | None, as_json: bool) -> None:
    """Show principles in a table, or one in full.

    Without a name, list the built-in constitutions.
    """
    from constitution.loading import built_in_names, load_constitution

    if constitution is None:
        loaded = {name: load_constitution(name) for name in built_in_names()}
        if as_json:
            click.echo(json.dumps({name: each.hash for name, each in loaded.items()}, indent=2))
        else:
            _print(_built_in_table(loaded))
        return
    found = load_constitution(constitution)
    chosen = found.principle(principle) if principle else None
    if as_json:
        click.echo(json.dumps(_principle_json(chosen) if chosen else _json(found), indent=2, ensure_ascii=False))
    elif chosen:
        _print(*_principle_lines(chosen))
    else:
        _print(*_heading(found), _principle_table(found))
        click.echo(f"  One in full: charter constitution show {constitution} {found.principles[0].id}")


@group.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def diff(old: str, new: str) -> None:
    """Show what an edit changed, word by word.

    Says too whose stored labels go stale: those of principles whose texts or propositions changed.
    """
    from constitution.difference import difference
    from constitution.loading import load_constitution

    before, after = load_constitution(old), load_constitution(new)
    found = difference(before, after)
    click.echo(f"{before.name} {before.version} ({before.hash}) → {after.name} {after.version} ({after.hash})")
    if not found:
        click.echo("The principles and the preamble are the same.")
        return
    _print(*_difference_lines(before, after, found))


@group.command()
def schema() -> None:
    """Print the JSON Schema of a constitution file.

    An editor completes and explains keys where the first line of the YAML file is

        # yaml-language-server: $schema=schema.json
    """
    from constitution.schema import json_schema

    click.echo(json_schema(), nl=False)


@group.command("import")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-o", "--output", help="The YAML file to write. Without it, the YAML is printed.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "cai", "llm-swarm", "langchain", "icai", "text"]),
    default="auto",
    show_default=True,
    help="What the files hold.",
)
@click.option("--name", help="What to call the constitution. Left out, it is the first file's name.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
def import_files(paths: tuple[str, ...], output: str | None, form: str, name: str | None, force: bool) -> None:
    """Turn files in other formats into a constitution.

    Reads the Constitutional AI paper's JSON files (give both to get both halves), llm-swarm's and LangChain's JSON, a
    list recovered by Inverse Constitutional AI, and plain text with one principle a line.
    """
    from constitution.importing import import_constitution
    from constitution.loading import to_yaml

    if output and Path(output).exists() and not force:
        raise BadInput(Fault("the file exists already", file=output, hint="choose another, or say --force"))
    constitution = import_constitution(paths, form, name)
    if output is None:
        click.echo(to_yaml(constitution), nl=False)
        return
    try:
        Path(output).write_text(to_yaml(constitution), encoding="utf-8")
    except OSError as error:
        raise BadInput(Fault(f"the file cannot be written: {error.strerror}", file=output)) from None
    click.echo(f"wrote {output}: {_summary(constitution)}")
    click.echo(f"Next: charter constitution check {output}")


# ── What is printed ──────────────────────────────────────────────────────────────────────────────────────────────────


def _print(*parts: RenderableType) -> None:
    from rich.console import Console

    console: Console = Console(file=sys.stdout, highlight=False)
    for part in parts:
        console.print(part)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _summary(constitution: Constitution) -> str:
    revising, comparing = len(constitution.for_revision()), len(constitution.for_comparison())
    count = _counted(len(constitution.principles), "principle")
    return f"{count} ({revising} to revise, {comparing} to compare), hash {constitution.hash}"


def _built_in_table(loaded: dict[str, Constitution]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 1, 0), show_edge=False)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("principles", justify="right")
    table.add_column("preamble")
    for name, each in loaded.items():
        table.add_row(Text(name), str(len(each.principles)), Text(each.preamble))
    return table


def _heading(constitution: Constitution) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    title = Text.assemble("  ", (constitution.name, "bold"), f" {constitution.version}")
    lines: list[RenderableType] = [Text(), title, Text(f"  {_summary(constitution)}", style="dim")]
    if constitution.preamble:
        lines += [Text(), Padding(Text(constitution.preamble), (0, 2))]
    return [*lines, Text()]


def _principle_table(constitution: Constitution) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 0, 1, 2), show_edge=False)
    table.add_column("principle", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("axis, risk", no_wrap=True)
    table.add_column("hash", no_wrap=True, style="dim")
    for each in constitution.principles:
        words = " ".join((each.comparison or each.critique or "").split())
        cell = Text.assemble((each.id, "bold"), "\n", (words, "dim"))
        kinds = Text.assemble(each.axis, *(("\n" + category, "dim") for category in each.risk))
        table.add_row(cell, f"{each.weight:g}", kinds, Text(each.hash))
    table.expand = True
    return table


def _principle_lines(principle: Principle) -> list[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    kinds = [f"weight {principle.weight:g}", principle.axis, *principle.risk, *principle.tags, f"hash {principle.hash}"]
    parts: list[RenderableType] = [Text.assemble((principle.id, "bold"), "  ", (" · ".join(kinds), "dim"))]
    named = [(name, getattr(principle, name)) for name in TEXTS]
    named += [(f"check '{each.id}' (bad: {each.bad_answer})", each.question) for each in principle.propositions]
    for case in principle.tests:
        named += [("test", case.prompt), ("  better", case.better), ("  worse", case.worse)]
    named.append(("source", principle.source))
    for name, text in named:
        if text:
            indent = len(name) - len(name.lstrip())
            parts += [Padding(Text(name.strip(), style="cyan"), (1 if not indent else 0, 0, 0, indent))]
            parts += [Padding(Text(text), (0, 2, 0, 4))]
    return parts


def _principle_json(principle: Principle) -> dict[str, object]:
    return {"id": principle.id, "hash": principle.hash, **principle.model_dump(mode="json", exclude={"id"})}


def _json(constitution: Constitution) -> dict[str, object]:
    return {
        "name": constitution.name,
        "version": constitution.version,
        "hash": constitution.hash,
        "preamble": constitution.preamble,
        "principles": [_principle_json(each) for each in constitution.principles],
    }


def _difference_lines(old: Constitution, new: Constitution, found: Difference) -> list[RenderableType]:
    from rich.text import Text

    lines: list[RenderableType] = []
    if found.preamble:
        lines += [Text("~ preamble", style="yellow"), *_words("preamble", old.preamble, new.preamble)]
    lines += [Text.assemble((f"+ {each.id}", "green"), "  added") for each in found.added]
    lines += [Text.assemble((f"- {each.id}", "red"), "  removed") for each in found.removed]
    lines += [Text(f"> {before} is now {after}: its labels stay good") for before, after in found.renamed]
    for change in found.changed:
        lines += _change_lines(change)
    lines.append(Text(f"\n{_counted(found.unchanged, 'principle')} unchanged. {_consequence(found)}"))
    return lines


def _change_lines(change: Change) -> list[RenderableType]:
    from rich.text import Text

    state = "its labels and revisions go stale" if change.stale else "its labels stay good"
    lines: list[RenderableType] = [Text.assemble((f"~ {change.new.id}", "yellow"), f"  changed; {state}")]
    for name in change.fields:
        old, new = getattr(change.old, name), getattr(change.new, name)
        if name in TEXTS:
            lines += _words(name, old or "", new or "")
        elif name in {"propositions", "tests"}:
            lines.append(Text(f"    {name}: {len(old)} → {len(new)}" if len(old) != len(new) else f"    {name} edited"))
        else:
            shown = [", ".join(each) if isinstance(each, tuple) else f"{each}" for each in (old, new)]
            lines.append(Text(f"    {name}: {shown[0] or 'none'} → {shown[1] or 'none'}"))
    return lines


def _words(name: str, old: str, new: str) -> list[RenderableType]:
    """Both texts in one, with what went and what came marked for eyes with and without colour."""
    from rich.padding import Padding
    from rich.text import Text

    from constitution.difference import words_changed

    marks = {"same": ("", "", ""), "old": ("[-", "-]", "red"), "new": ("{+", "+}", "green")}
    text = Text.assemble((f"{name}: ", "dim"))
    for kind, words in words_changed(old, new):
        before, after, style = marks[kind]
        text.append(f"{before}{words}{after}", style=style)
    return [Padding(text, (0, 0, 0, 4))]


def _consequence(found: Difference) -> str:
    stale = found.stale_hashes
    if stale:
        verb = "go" if len(stale) > 1 else "goes"
        return f"What {_counted(len(stale), 'principle')} made {verb} stale: {', '.join(stale.values())}."
    return "No stored label goes stale."
