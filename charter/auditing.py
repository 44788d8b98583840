"""`charter audit`: which principles, and which plain features, explain a set of labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.flagging import refuses
from charter.relabelling import Judging, check_output, judge_pairs, sample
from charter.showing import printable
from engine.pairs import read_pairs
from engine.storage import Folder
from evaluation.audit import ALIKE, OPPOSED, PLAIN_FEATURES, Audit, Explained, Together, audit_pairs, refusal_feature
from evaluation.estimates import Estimate

COLUMNS_TOLD = """\
covers    pairs on which it takes a side, the same in both orders
wins      how often that side is the label's (95 % interval)
strength  covers × 2 (wins − ½)
others    how often its side is that of the other principles together
decides   labels that would be another without it"""


def audit(where: str, *, split: str | None = None) -> Audit:
    """Audits the pairs of a run, a pair folder or a foreign file."""
    features = {**PLAIN_FEATURES, "refuses": refusal_feature(refuses)}
    return audit_pairs(read_pairs(where, split=split), features)


def judge_into(output: str, judging: Judging, *, split: str | None) -> None:
    """Asks a judge about the pairs and writes them, with its votes, into a pair folder. Raises BadInput before a model
    is opened."""
    folder = Folder(output)
    check_output(folder, judging)
    pairs = sample(read_pairs(judging.source, split=split), judging.limit)
    judge_pairs(pairs, judging, folder, lambda line: print(line, file=sys.stderr, flush=True))
    folder.write_json("manifest.json", {"pairs": len(pairs), "made": judging.described()})


def as_json_value(found: Audit) -> dict[str, Any]:
    """The audit in JSON's types, each figure with its interval and what it rests on."""
    strengths = {each.name: each.strength for each in (*found.principles, *found.features)}
    return asdict(found) | {"strengths": strengths, "idle": list(found.idle)}


def tell_audit(where: str, found: Audit, console: Console | None = None) -> None:
    """The principles, what two of them say together, and the plain features."""
    console = console or Console()
    console.print(Text(f"{printable(where)}: {found.pairs:,} labelled pairs", style="bold"))
    if found.principles:
        console.print()
        console.print(_table("principle", found.principles, with_others=True, decides=found.made_of_votes > 0))
        _tell_together(found.redundant, f"say the same on at least {ALIKE:.0%} of the pairs", console)
        _tell_together(found.contradictory, f"say the same on at most {OPPOSED:.0%} of the pairs", console)
        if found.idle:
            console.print(Text(f"without these, every label would be the same: {', '.join(found.idle)}"))
    else:
        console.print(
            Text("No principle was asked about these pairs: have a judge do it with --constitution and --model.")
        )
    console.print()
    console.print(_table("the preferred answer …", found.features))
    console.print()
    console.print(Text(COLUMNS_TOLD))


def _table(title: str, rows: Sequence[Explained], *, with_others: bool = False, decides: bool = False) -> Table:
    table = Table(title, "asked", "covers", "wins", "strength", box=None, padding=(0, 1, 0, 0))
    if with_others:
        table.add_column("others")
    if decides:
        table.add_column("decides")
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for each in rows:
        strength = "-" if each.strength is None else f"{each.strength:+.2f}"
        covers = "-" if each.coverage.value is None else f"{each.coverage.value:.0%}"
        cells = [each.name, f"{each.asked:,}", covers, _percent(each.win_rate), strength]
        cells += ["-" if each.others.value is None else f"{each.others.value:.0%}"] if with_others else []
        table.add_row(*cells, *([f"{each.pivotal:,}"] if decides else []))
    return table


def _percent(figure: Estimate) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return "-"
    return f"{figure.value:.0%} ({100 * figure.low:.0f}–{100 * figure.high:.0f})"


def _tell_together(found: Sequence[Together], meaning: str, console: Console) -> None:
    for each in found:
        console.print(Text(f"{each.one} and {each.other} {meaning} ({each.agreement:.0%} of {each.pairs:,})"))
