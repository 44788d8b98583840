"""Commands about pairs, wherever they lie: `pairs` says what a set is like, `filter` and `import` make pair folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from charter.commands.options import Command, shared

if TYPE_CHECKING:
    from engine.storage import Folder

WHERE = click.argument("where", metavar="RUN_OR_FILE")
SPLIT = click.option("--split", help="The split of a Hugging Face data set.")
JSON = click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
DOUBTS = shared(
    click.option(
        "--cross-fit",
        is_flag=True,
        help="Hold each label against a preference model over words, fitted on other pairs of these.",
    ),
    click.option(
        "--preference-model",
        "preference_models",
        metavar="MODEL",
        multiple=True,
        help="Hold labels against what `charter train pm` made; not those that it learnt. May be given several times.",
    ),
    click.option(
        "--scores",
        type=click.Path(),
        help="Hold labels against scores: rows with pair_id, and score or both of score_chosen and score_rejected.",
    ),
    click.option(
        "--mislabelled-below",
        type=click.FloatRange(0, 1),
        metavar="P",
        help="Flag a label that is given less than this.  [default: the run's own, or 0.2]",
    ),
)
OUTPUT = click.option("--output", metavar="FOLDER", required=True, help="The folder to write; new, or empty.")


@click.command()
@WHERE
@SPLIT
@DOUBTS
@click.option("--flag", metavar="FLAG", help="List the pairs that have this flag.")
@click.option("--limit", type=click.IntRange(min=1), default=10, show_default=True, help="With --flag: pairs to list.")
@JSON
def pairs(where: str, split: str | None, flag: str | None, limit: int, *, as_json: bool, **doubts: Any) -> int:
    """Say what the pairs of RUN_OR_FILE are like, and what may be wrong with them.

    Takes a run folder, a folder that `charter import` or `charter filter` wrote, or preference data in any form that
    docs/pairs.md lists.
    """
    import dataclasses
    import itertools
    import json

    from charter.flagging import Doubts, check_flags, doubted_flags
    from charter.pair_telling import tell_flagged, tell_summary
    from engine.flags import count_flags
    from engine.pair_summary import summarise
    from engine.pairs import read_pairs
    from engine.policies import flag_summary
    from engine.records import as_row
    from engine.storage import Folder

    check_flags("--flag", [flag] if flag else [])
    folder = Folder(where)
    settings, found = doubted_flags(folder, Doubts(**doubts), tell, split)
    if flag:
        both = zip(read_pairs(where, split=split), found, strict=True)
        listed = itertools.islice(((pair, flags) for pair, flags in both if flag in flags.names), limit)
        if as_json:
            click.echo(json.dumps([as_row(pair) | {"flags": as_row(flags.flags)} for pair, flags in listed]))
        else:
            tell_flagged(listed, flag)
        return 0
    summary, counts = summarise(read_pairs(where, split=split)), count_flags(found)
    if as_json:
        described = dataclasses.asdict(summary) | {"flags": flag_summary(counts, settings)}
        click.echo(json.dumps(described, indent=2))
    else:
        tell_summary(where, summary, counts, settings)
    return 0


def _policy(name: str, what: str) -> Callable[[Command], Command]:
    help_text = f"{what} May be given several times; 'all' is every flag."
    return click.option(f"--{name}", name.replace("-", "_"), metavar="FLAG", multiple=True, help=help_text)


@click.command("filter")
@WHERE
@OUTPUT
@SPLIT
@DOUBTS
@_policy("keep", "Keep pairs with this flag.")
@_policy("drop", "Leave out pairs with this flag.")
@_policy("down-weight", "Let pairs with this flag count less.")
@_policy("separate", "Put pairs with this flag into a folder of their own.")
@click.option("--decisions", type=click.Path(), help="What was decided on the map: rows with pair_id and decision.")
@JSON
def filter_pairs(
    where: str,
    output: str,
    split: str | None,
    cross_fit: bool,
    preference_models: tuple[str, ...],
    scores: str | None,
    mislabelled_below: float | None,
    decisions: str | None,
    *,
    as_json: bool,
    **policies: tuple[str, ...],
) -> int:
    """Write the pairs of RUN_OR_FILE that are worth keeping to a new folder, and record what was left out and why.

    The policies are those of the run's recipe, or the defaults, unless options say otherwise. A decision goes before
    every policy: keep, drop, or relabel, which turns the label round.
    """
    import json

    from charter.filtering import filter_into
    from charter.flagging import Doubts
    from charter.pair_telling import tell_filtered

    manifest = filter_into(
        where,
        _new_folder(output),
        split=split,
        doubts=Doubts(cross_fit, preference_models, scores, mislabelled_below),
        decisions=decisions,
        tell=tell,
        policies={name.replace("_", "-"): flags for name, flags in policies.items()},
    )
    if as_json:
        click.echo(json.dumps(manifest, indent=2))
    else:
        tell_filtered(output, manifest)
    return 0


@click.command("import")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@OUTPUT
@SPLIT
@click.option("--skip-bad-rows", is_flag=True, help="Leave out rows that are no pairs, and count them.")
def import_pairs(paths: tuple[str, ...], output: str, split: str | None, *, skip_bad_rows: bool) -> int:
    """Read preference data of any form that docs/pairs.md lists into a pair folder, which every other command reads.

    Several files become one set, in the order given. A row that is no pair ends the import, unless it may be skipped.
    """
    from charter.filtering import import_into
    from charter.pair_telling import tell_imported

    tell_imported(output, import_into(paths, _new_folder(output), split=split, skip_bad_rows=skip_bad_rows))
    return 0


def _new_folder(output: str) -> Folder:
    """Raises BadInput where the folder holds something, or cannot be written."""
    from charter.recipe import check_output
    from constitution.faults import BadInput, Fault
    from engine.storage import Folder

    folder = Folder(output)
    check_output(folder)
    held = folder.names()
    if held:
        raise BadInput(Fault(f"it holds {held[0]!r}", where=f"output {output}", hint="name a new or an empty folder"))
    return folder


def tell(text: str) -> None:
    """Says on stderr what is being done."""
    click.echo(text, err=True)
