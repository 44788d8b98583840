"""`charter redteam`: seed prompts pushed in several ways."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--vector", "vectors", multiple=True, metavar="NAME", help="Only this vector; may be given several times."
)
@click.option("--vectors", "folder", metavar="FOLDER", help="Vectors of your own, NAME.jinja each, in place of ours.")
@click.option("--category", default="", help="A risk category for all prompts; `benign` where they should be answered.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first so many prompts of each file.")
@click.option("--output", metavar="FILE", default="redteam.jsonl", show_default=True, help="Where the prompts go.")
@click.option("--force", is_flag=True, help="Write over prompts that are there.")
def redteam(
    files: tuple[str, ...],
    vectors: tuple[str, ...],
    folder: str | None,
    category: str,
    limit: int | None,
    output: str,
    force: bool,
) -> int:
    """Push the prompts of FILEs in several ways: as they are, and under each attack vector.

    Reads what Charter reads as prompts: JSONL, CSV, XSTest, HarmBench, hh-rlhf. Each row of the output has messages,
    category, vector and parent, the seed that it was made of.
    """
    from charter.labels_file import write_labels
    from constitution.faults import BadInput, Fault
    from engine.inputs import PromptSource, check_prompts, read_prompts
    from evaluation.redteam import OUR_VECTORS, pushed, read_vectors

    target = Path(output)
    if target.suffix != ".jsonl":
        raise BadInput(Fault("prompts are written as .jsonl", file=output, where="--output"))
    wanted = read_vectors(Path(folder) if folder else OUR_VECTORS, vectors)
    sources = [PromptSource(path=path, category=category, limit=limit) for path in files]
    check_prompts(sources)
    seeds = list(read_prompts(sources))
    made = list(pushed(seeds, wanted))
    write_labels(target, [each.as_json() for each in made], force=force)
    for name, count in Counter(each.prompt.vector for each in made).items():
        click.echo(f"{name:16} {count:6,}")
    equal = sum(1 if seed.vector else 1 + len(wanted) for seed in seeds) - len(made)
    if equal:
        click.echo(
            f"left out {equal:,} that equal another one: seeds that come twice, or that a vector does not change"
        )
    click.echo(f"wrote {target}")
    return 0
