"""`charter map`: the pairs of a run or file as the points of one HTML page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from charter.commands.pairs import DOUBTS, SPLIT, WHERE, tell

if TYPE_CHECKING:
    from engine.pairs import Pair
    from engine.storage import Folder
    from evaluation.map.making import Nearness

OURS = b'<meta name="generator" content="Charter map">'
"""What a page that may be written over has among its first bytes."""
HEAD_BYTES = 2_000
TELL_SECONDS = 10.0


@click.command("map")
@WHERE
@SPLIT
@DOUBTS
@click.option("--output", metavar="FILE", help="The page.  [default: RUN/map.html, or NAME.map.html here]")
@click.option(
    "--pairs",
    "most",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    help="How many to show. All flagged pairs are among them, even where they are more.",
)
@click.option(
    "--model",
    help="A folder or hub id: pairs are near where a sentence-embedding model finds their texts alike, or where a "
    "preference model's hidden states are. Without it, where their words are alike.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and of the layout.")
def map_pairs(
    where: str, split: str | None, output: str | None, most: int, model: str | None, seed: int, **doubts: Any
) -> int:
    """Draw the pairs of RUN_OR_FILE as a map: one HTML page to look at them, search them and decide about them.

    It opens in a browser without a network. Decisions download as JSONL, which `charter filter` applies.
    """
    from charter.flagging import Doubts, doubted_flags
    from engine.flags import MEANINGS
    from engine.pairs import read_pairs
    from engine.storage import Folder
    from evaluation.map.making import make_map
    from evaluation.map.sampling import take_sample

    page = check_page(page_path(where, output))
    if model:
        from evaluation.map.model_vectors import check_embedder

        check_embedder(model)
    tell("reading and flagging the pairs")
    _, found = doubted_flags(Folder(where), Doubts(**doubts), tell, split)
    flags = {each.pair_id: {flag.name: flag.detail for flag in each.flags} for each in found if each.flags}
    sample = take_sample(read_pairs(where, split=split), flags, most, seed)
    tell(f"on the map: {sample.sentence()}")
    nearness = _by_model(model, sample.pairs, Folder(str(page.with_suffix(".vectors")))) if model else None
    title = Path(where).name or where
    html = make_map(title, where, sample, flags, MEANINGS, seed=seed, tell=tell, nearness=nearness)
    Folder(str(page.parent)).write(page.name, html.encode("utf-8"))
    click.echo(f"wrote {page}, {len(html) / 1e6:.1f} MB: open it in a browser")
    return 0


def page_path(where: str, output: str | None) -> Path:
    """Where the page goes: what was asked for; else into the run or pair folder, or here under the file's name."""
    from engine.inputs.source import COMPRESSIONS, CONTAINERS
    from engine.pairs import is_pair_folder, is_run_folder
    from engine.storage import Folder

    if output:
        return Path(output)
    folder = Folder(where)
    if folder.is_local and (is_run_folder(folder) or is_pair_folder(folder)):
        return Path(where) / "map.html"
    name = Path(where).name
    for ending in (*COMPRESSIONS, *CONTAINERS):
        name = name.removesuffix(ending)
    return Path(f"{name or 'pairs'}.map.html")


def check_page(page: Path) -> Path:
    """The path again. Raises BadInput where something else than a map of ours is there."""
    from constitution.faults import BadInput, Fault

    if page.is_dir() or (page.exists() and OURS not in _head(page)):
        hint = "choose another place with --output"
        raise BadInput(Fault("something else than a map is there already", file=str(page), hint=hint))
    return page


def _head(page: Path) -> bytes:
    with page.open("rb") as file:
        return file.read(HEAD_BYTES)


def _by_model(model: str, pairs: Sequence[Pair], store: Folder) -> Nearness:
    from evaluation.map.making import Nearness
    from evaluation.map.model_vectors import model_vectors, open_embedder

    tell(f"loading {model}")
    embedder = open_embedder(model)
    return Nearness(model_vectors(embedder, pairs, store, _counter(len(pairs))), embedder.description)


def _counter(total: int) -> Callable[[int], None]:
    """Tells how many of so many pairs the model has read, every ten seconds and at the end."""
    spoke = time.monotonic()

    def count(done: int) -> None:
        nonlocal spoke
        if done == total or time.monotonic() - spoke > TELL_SECONDS:
            spoke = time.monotonic()
            tell(f"read by the model: {done:,} of {total:,}")

    return count
