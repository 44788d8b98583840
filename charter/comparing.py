"""`charter diff`: two runs over the same pairs, label by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from charter.recipe import differences
from charter.run import frozen_constitution, frozen_recipe
from charter.showing import printable
from constitution import Constitution
from constitution.difference import Difference, difference
from constitution.faults import BadInput, Fault
from engine.label_changes import CAUSES, KINDS, Label, LabelChange, label_changes
from engine.pairs import is_run_folder, read_comparisons
from engine.storage import Folder

EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What became of the labels. `settings` are the recipe's keys that differ, a line each; `only_before` and
    `only_after` count the pairs of one run alone, which cannot be compared."""

    before: str
    after: str
    constitutions: tuple[Constitution, Constitution]
    edits: Difference
    settings: tuple[str, ...]
    changes: tuple[LabelChange, ...]
    only_before: int
    only_after: int

    def count(self, kind: str) -> int:
        """The pairs that changed in this way."""
        return sum(change.kind == kind for change in self.changes)

    @property
    def reasons(self) -> Counter[tuple[str, str, str]]:
        """(principle, cause, kind) of the changed labels, the commonest first."""
        changed = [each for each in self.changes if each.kind != "same"]
        return Counter((each.principle, str(each.cause), each.kind) for each in changed)


def compare_runs(before: str, after: str) -> RunDifference:
    """Raises BadInput where a folder is no run, or the two share no pair."""
    old, new = (_opened(where) for where in (before, after))
    constitutions = frozen_constitution(old), frozen_constitution(new)
    former = {row.pair_id: Label.of(row) for row in read_comparisons(old)}
    latter = {row.pair_id: Label.of(row) for row in read_comparisons(new)}
    changes = tuple(label_changes(former, latter.values(), *constitutions))
    if not changes:
        hint = "a pair is the same where prompt and both answers are: same prompts, model, seed and sampling"
        raise BadInput(Fault("the two runs have no pair in common", where=f"{before} and {after}", hint=hint))
    changed = differences(frozen_recipe(old), frozen_recipe(new))
    return RunDifference(
        before=before,
        after=after,
        constitutions=constitutions,
        edits=difference(*constitutions),
        settings=tuple(line for line in changed if not line.startswith("name:")),
        changes=changes,
        only_before=len(former.keys() - latter.keys()),
        only_after=len(latter.keys() - former.keys()),
    )


def _opened(where: str) -> Folder:
    folder = Folder(where)
    if not is_run_folder(folder):
        raise BadInput(Fault("it is no run folder", where=where, hint="name the folder that a run has made"))
    return folder


def as_json_value(found: RunDifference) -> dict[str, Any]:
    """Counts, reasons and every changed label in JSON's types."""
    return {
        "constitutions": [each.hash for each in found.constitutions],
        "settings": list(found.settings),
        "pairs": len(found.changes),
        "only_before": found.only_before,
        "only_after": found.only_after,
        "counts": {kind: found.count(kind) for kind in KINDS},
        "reasons": [
            {"principle": principle, "cause": cause, "kind": kind, "pairs": count}
            for (principle, cause, kind), count in found.reasons.most_common()
        ],
        "changes": [asdict(change) for change in found.changes if change.kind != "same"],
    }


def tell_difference(found: RunDifference, console: Console | None = None) -> None:
    """What was changed, what became of the labels, why, and where to look."""
    console = console or Console()
    old, new = found.constitutions
    same = " (the same)" if old.hash == new.hash else ""
    console.print(
        Text(f"constitution  {old.name} {old.version} ({old.hash}) → {new.name} {new.version} ({new.hash}){same}")
    )
    for line in _edits(found.edits):
        console.print(Text(f"  {line}"))
    if found.settings:
        console.print(Text("recipe"))
        for line in found.settings:
            console.print(Text(f"  {printable(line)}"))
    console.print(Text(f"{len(found.changes):,} pairs are in both runs, of which", style="bold"))
    for kind, meaning in KINDS.items():
        console.print(Text(f"  {found.count(kind):>7,} {meaning}"))
    for count, where in ((found.only_before, found.before), (found.only_after, found.after)):
        if count:
            console.print(Text(f"  {count:,} more are in {where} alone"))
    if found.reasons:
        console.print(_reasons(found))
        _tell_examples([change for change in found.changes if change.kind != "same"], found.after, console)


def _edits(edits: Difference) -> list[str]:
    lines = [f"{change.new.id}: edited {', '.join(change.fields)}" for change in edits.changed]
    lines += [f"{each.id}: added" for each in edits.added]
    lines += [f"{each.id}: removed" for each in edits.removed]
    lines += [f"{old}: renamed to {new}" for old, new in edits.renamed]
    return lines + (["the preamble changed"] if edits.preamble else [])


def _reasons(found: RunDifference) -> Table:
    table = Table("labels", "became", "most of it because of", "why", title_justify="left")
    table.columns[0].justify = "right"
    for (principle, cause, kind), count in found.reasons.most_common():
        table.add_row(f"{count:,}", kind, principle, CAUSES[cause] if cause else "")  # type: ignore[index]
    return table


def _tell_examples(changes: Sequence[LabelChange], after: str, console: Console) -> None:
    table = Table("pair", "P(a better)", "became", "because of", "its share", title_justify="left")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    biggest = sorted(changes, key=lambda each: -abs((each.after or 0.5) - (each.before or 0.5)))[:EXAMPLES]
    for each in biggest:
        moved = " → ".join("none" if value is None else f"{value:.3f}" for value in (each.before, each.after))
        table.add_row(each.pair_id, moved, each.kind, each.principle, f"{each.share:+.3f}")
    table.title = "The largest changes" if len(changes) > EXAMPLES else "The changes"
    console.print(table)
    console.print(Text(f"One in full: charter show {after} {biggest[0].pair_id}"), soft_wrap=True)
