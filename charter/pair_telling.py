"""Pairs on a terminal: what a set is like, which pairs have a flag, and one pair with everything behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.showing import printable
from engine.flags import MEANINGS, FlagCount, PairFlags
from engine.pair_summary import PairSummary
from engine.pairs import Pair, text_of
from engine.settings import FlagSettings

BARS = " ▁▂▃▄▅▆▇█"
EXCERPT = 200
TAGS_TOLD = 6
SKIPPED_TOLD = 5


def tell_summary(
    where: str,
    summary: PairSummary,
    counts: Sequence[FlagCount],
    settings: FlagSettings,
    console: Console | None = None,
) -> None:
    """The set in a few lines, its flags in a table, and what to do next."""
    console = console or Console()
    grid = Table.grid(padding=(0, 2))
    for name, said in _summary_rows(summary):
        grid.add_row(Text(name, style="bold"), Text(printable(said)))
    console.print(Text(f"{printable(where)}: {_counted(summary.pairs, 'pair')}", style="bold"))
    console.print(grid)
    console.print()
    _tell_flags(counts, settings, console)
    flagged = next((count for count in counts if count.count), None)
    if flagged:
        for said in (
            f"Look at them: charter pairs {printable(where)} --flag {flagged.flag}",
            f"One in full:  charter show {printable(where)} {flagged.examples[0]}",
        ):
            console.print(Text(said), soft_wrap=True)


def _summary_rows(summary: PairSummary) -> Iterable[tuple[str, str]]:
    turns = f"{summary.prompts:,} different ones; {_counted(summary.multi_turn, 'pair')} with several turns"
    yield "prompts", turns + (f", {summary.with_system:,} with a system message" if summary.with_system else "")
    yield "labels", _tags(summary.statuses)
    if any(summary.probabilities):
        yield "probability", f"0.5 {_bars(summary.probabilities)} 1.0, that chosen is better"
    if summary.chosen_words is not None:
        longer = "" if summary.chosen_longer is None else f"; chosen is the longer in {summary.chosen_longer:.0%}"
        yield "length", f"{summary.chosen_words:g} words chosen, {summary.rejected_words:g} rejected (medians){longer}"
    if summary.same_place is not None:
        asked = _counted(summary.questions_in_both_orders, "question")
        yield "position", f"{summary.same_place:.0%} of {asked} prefer the same place in both orders"
    for name, counts in (
        ("categories", summary.categories),
        ("vectors", summary.vectors),
        ("principles", summary.principles),
    ):
        if counts:
            yield name, _tags(counts)


def _tags(counts: Mapping[str, int]) -> str:
    told = ", ".join(f"{count:,} {name}" for name, count in list(counts.items())[:TAGS_TOLD])
    more = len(counts) - TAGS_TOLD
    return told + (f" and {more} more" if more > 0 else "")


def _bars(counts: Sequence[int]) -> str:
    most = max(counts)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)


def _tell_flags(counts: Sequence[FlagCount], settings: FlagSettings, console: Console) -> None:
    table = Table("flag", "pairs", "of", "policy", "meaning", title_justify="left")
    for number in (1, 2):
        table.columns[number].justify = "right"
    for each in counts:
        if each.count:
            share = f"{each.rate:.1%} of {each.known:,}"
            policy = getattr(settings.policies, each.flag)
            table.add_row(each.flag, f"{each.count:,}", share, policy, MEANINGS[each.flag])
    if table.rows:
        console.print(table)
    clear = [each.flag for each in counts if each.known and not each.count]
    unknown = [each.flag for each in counts if not each.known]
    if clear:
        console.print(Text(f"not found: {', '.join(clear)}"))
    if unknown:
        console.print(Text(f"cannot be told here: {', '.join(unknown)} (docs/pairs.md says what each needs)"))


def tell_flagged(rows: Iterable[tuple[Pair, PairFlags]], flag: str, console: Console | None = None) -> None:
    """Pairs with one flag, a few lines each."""
    console = console or Console()
    for pair, flags in rows:
        detail = next(each.detail for each in flags.flags if each.name == flag)
        console.print(Text.assemble((pair.pair_id, "bold"), f"  {printable(pair.source)}  {printable(detail)}"))
        last = next((m["content"] for m in reversed(pair.prompt) if m["role"] == "user"), "")
        grid = Table.grid(padding=(0, 2))
        for name, text in (("user", last), ("chosen", text_of(pair.chosen)), ("rejected", text_of(pair.rejected))):
            grid.add_row(f"  {name}", Text(excerpt(text)))
        console.print(grid)


def tell_filtered(output: str, manifest: Mapping[str, Any], console: Console | None = None) -> None:
    """What was kept, and what was not and why."""
    console = console or Console()
    counts, policies = manifest["counts"], manifest["policies"]["policies"]
    console.print(Text(f"kept {counts.get('kept', 0):,} of {_counted(counts.get('read', 0), 'pair')} in {output}"))
    table = Table("because of", "pairs", "what became of them", title_justify="left")
    table.columns[1].justify = "right"
    for reason, count in manifest["removed"].items():
        dropped = reason == "decision" or policies[reason] == "drop"
        table.add_row(reason, f"{count:,}", "left out" if dropped else f"in {printable(output)}/{reason}")
    if table.rows:
        console.print(table)
        console.print(Text(f"Which and why, pair by pair: {output}/removed.parquet"), soft_wrap=True)
    for name, said in (("down-weighted", "count less"), ("relabelled", "have their label turned round")):
        if counts.get(name):
            console.print(Text(f"{counts[name]:,} of those kept {said}"))


def tell_imported(output: str, manifest: Mapping[str, Any], console: Console | None = None) -> None:
    """How many pairs came in, and which rows did not."""
    console = console or Console()
    console.print(Text(f"wrote {_counted(manifest['pairs'], 'pair')} to {output}"))
    if manifest["rows_skipped"]:
        console.print(Text(f"{_counted(manifest['rows_skipped'], 'row')} skipped; the first:"))
        for fault in manifest["skipped"][:SKIPPED_TOLD]:
            console.print(Text(f"  {printable(fault)}"), soft_wrap=True)
    console.print(Text(f"Next: charter pairs {output}"), soft_wrap=True)


def excerpt(text: str) -> str:
    """The beginning of a text on one line, safe for a terminal."""
    line = " ".join(text[: 4 * EXCERPT].split())
    return printable(line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
