"""`README.md` of a run folder: what was made, from what, what was left out, what it took, how to make it again.

It is a data set's card as the Hugging Face hub reads it: `load_dataset("RUN", "preferences")` works on the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from charter.card_parts import (
    WARNING,
    cell,
    counted,
    data_header,
    licence_lines,
    limit_lines,
    sample_block,
    table,
)
from charter.recipe import Recipe
from charter.reuse import reused_lines
from constitution.yaml_files import load_yaml_text
from engine.pairs import COMPARE_STAGE, is_run_folder
from engine.progress import duration
from engine.records import Comparison
from engine.storage import Folder, StageStore

COUNTED = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")


@dataclass(frozen=True)
class LabelCounts:
    """What became of the pairs of a run. `order_consistent` is the mean over pairs where it is known."""

    pairs: int
    status: Mapping[str, int]
    order_consistent: float | None
    both_bad: int
    both_bad_known: int


@dataclass(frozen=True)
class RunFacts:
    """Everything that a card says of a run. `measured` holds the judge's figures of the run's report, by name."""

    recipe: Recipe
    manifest: Mapping[str, Any]
    cost: Mapping[str, Any]
    labels: LabelCounts | None
    measured: Mapping[str, Mapping[str, Any]]


def run_facts(folder: Folder) -> RunFacts:
    """The facts of a finished run."""
    manifest = folder.read_json("manifest.json")
    report = folder.read_json("report.json") if folder.exists("report.json") else {}
    judged = {name: figure for name, figure in report.get("labels", {}).items() if isinstance(figure, dict)}
    return RunFacts(
        recipe=load_yaml_text(folder.read("recipe.yaml").decode(), Recipe, f"{folder.location}/recipe.yaml"),
        manifest=manifest,
        cost=folder.read_json("cost.json") if folder.exists("cost.json") else {},
        labels=label_counts(StageStore(folder, COMPARE_STAGE, Comparison)),
        measured={name: figure for name, figure in judged.items() if figure.get("value") is not None},
    )


def finished_facts(folder: Folder) -> RunFacts | None:
    """The facts of a finished run; None for any other folder or file."""
    finished = is_run_folder(folder) and "products" in folder.read_json("manifest.json")
    return run_facts(folder) if finished else None


def label_counts(store: StageStore) -> LabelCounts | None:
    """The labels of a compare stage; None where it has no rows."""
    tables = list(store.tables(["status", "order_consistent", "both_bad"]))
    rows = pa.concat_tables(tables) if tables else None
    if rows is None or not rows.num_rows:
        return None
    return LabelCounts(
        pairs=rows.num_rows,
        status=dict(Counter(rows["status"].to_pylist()).most_common()),
        order_consistent=pc.mean(rows["order_consistent"]).as_py(),
        both_bad=pc.sum(rows["both_bad"]).as_py() or 0,
        both_bad_known=rows.num_rows - rows["both_bad"].null_count,
    )


def run_card(folder: Folder, licence: str | None = None) -> str:
    """The card of a finished run as Markdown."""
    facts = run_facts(folder)
    sets = dict(_data_sets(facts.manifest))
    configs: list[dict[str, Any]] = [
        {"config_name": name, "data_files": [{"split": "train", "path": f"data/{name}/*.parquet"}]}
        for name, rows in sets.items()
        if rows
    ]
    for first in configs[:1]:
        first["default"] = True
    return "\n".join(
        (
            data_header(facts.recipe.name, licence, sum(sets.values()), configs),
            "",
            f"# {facts.recipe.name}",
            "",
            WARNING,
            "",
            *made_lines(facts),
            *_product_lines(facts),
            *_sample_lines(folder, facts),
            *origin_lines(facts),
            *licence_lines(licence, licence_parts(facts)),
            *limit_lines(),
            "",
        )
    )


def made_lines(facts: RunFacts) -> Iterator[str]:
    """One sentence: by what and under which constitution."""
    law = facts.manifest["constitution"]
    yield (
        f"Made by Charter under the constitution *{cell(law['name'])}* {cell(law['version'])} (hash `{law['hash']}`), "
        "which is in its `constitution.yaml`."
    )
    yield ""


def _data_sets(manifest: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The folders under `data/` and their rows: preferences first, pairs that a policy set apart after them."""
    for name, product in sorted(manifest["products"].items()):
        yield name, product["rows"]
        for flag, rows in product.get("separate", {}).items():
            yield f"{name}_{flag}", rows


def _product_lines(facts: RunFacts) -> Iterator[str]:
    products = facts.manifest["products"]
    rows = []
    for name, count in _data_sets(facts.manifest):
        product = products.get(name, {"left_out": {}})
        weighted = product.get("down_weighted", 0)
        less = f" ({weighted:,} of them with less weight)" if weighted else ""
        rows.append((f"`data/{name}`", f"{count:,}{less}", counted(product["left_out"])))
    yield from table(["data set", "rows", "left out"], rows)
    for stage, counts in facts.manifest["stages"].items():
        made = f"{counts['items']:,} prompts gave {counts['rows']:,} rows"
        yield f"- `{stage}`: {made}; {counts['failed']:,} were set aside."
    yield ""


def _sample_lines(folder: Folder, facts: RunFacts) -> Iterator[str]:
    """The first row of the first data set that has one."""
    for name, _ in _data_sets(facts.manifest):
        for part in folder.child(f"data/{name}").names(suffix=".parquet"):
            rows = folder.read_table(f"data/{name}/{part}").slice(0, 1).to_pylist()
            if rows:
                yield from sample_block(rows[0])
                return


def origin_lines(facts: RunFacts) -> Iterator[str]:
    """How the data came about: labels, flags, models, cost, and the command to make it again."""
    yield "## How it was made"
    yield ""
    yield from label_lines(facts)
    yield from _flag_lines(facts)
    roles = facts.recipe.models_by_role(facts.recipe.played_roles)
    yield "### Models"
    yield ""
    yield from table(
        ["role", "model", "backend"], [(role, f"`{cell(spec.called)}`", spec.backend) for role, spec in roles.items()]
    )
    yield from _cost_lines(facts)
    yield "### To make it again"
    yield ""
    yield "With the run's frozen recipe, its constitution and the same prompts:"
    yield ""
    yield "```sh"
    yield "charter run recipe.yaml --output ANOTHER_FOLDER"
    yield "```"
    yield ""
    versions = ", ".join(f"{name} {version}" for name, version in facts.manifest["versions"].items())
    yield f"Seed {facts.manifest['seed']}; versions: {versions}."
    yield ""


def label_lines(facts: RunFacts) -> Iterator[str]:
    """Who judged the pairs, what came of it, and how good the judge was where that was measured."""
    labels = facts.labels
    if labels is None:
        return
    judge = facts.recipe.models_by_role(["judge"])["judge"].model
    yield "### Labels"
    yield ""
    consistent = "not known" if labels.order_consistent is None else f"{labels.order_consistent:.3f}"
    rows = [
        ("pairs", f"{labels.pairs:,}"),
        *((status, f"{count:,}") for status, count in labels.status.items()),
        ("share of principles whose two orders agree", consistent),
        ("both answers bad", f"{labels.both_bad:,} of {labels.both_bad_known:,} that were checked"),
    ]
    for name, figure in facts.measured.items():
        interval = f" [{figure['low']:.3f}, {figure['high']:.3f}]" if figure.get("low") is not None else ""
        rows.append((f"measured: {cell(name)}", f"{figure['value']:.3f}{interval}, n = {figure.get('n', '?')}"))
    yield from table([f"judge `{cell(judge)}`", ""], rows)
    if not facts.measured:
        yield "The judge's agreement with people or with an oracle was not measured in this run."
        yield ""


def _flag_lines(facts: RunFacts) -> Iterator[str]:
    flags = facts.manifest.get("flags")
    if not flags:
        return
    yield "### Flags"
    yield ""
    rows = [
        (name.replace("_", " "), f"{flag['count']:,}", f"{flag['known']:,}", flag["policy"])
        for name, flag in flags.items()
    ]
    yield from table(["flag", "pairs", "of", "policy"], rows)


def _cost_lines(facts: RunFacts) -> Iterator[str]:
    if not facts.cost:
        return
    yield "### Cost"
    yield ""
    rows = []
    for stage, bill in facts.cost.items():
        sums = {name: sum(step[name] for step in bill["steps"]) for name in COUNTED}
        known = [step["money"] for step in bill["steps"] if step["money"] is not None]
        money = f"{sum(known):.2f}" if known and len(known) == len(bill["steps"]) else "no price"
        rows.append((f"`{stage}`", *(f"{sums[name]:,}" for name in COUNTED), duration(bill["wall_seconds"]), money))
    yield from table(
        ["stage", "calls", "prompt tokens", "cached", "generated tokens", "wall time", "money"],
        rows,
    )
    for line in reused_lines(facts.cost):
        yield f"{line}."
        yield ""


def licence_parts(facts: RunFacts) -> dict[str, str]:
    """What a run's data is made of, and where the terms of each part are."""
    paths = (source.path for source in facts.recipe.prompts)
    names = (PurePath(path).name if PurePath(path).is_absolute() else path for path in paths)
    prompts = {f"the prompts of {name}": "as their source says" for name in names}
    roles = facts.recipe.models_by_role(facts.recipe.played_roles)
    models = {spec.model: spec for spec in roles.values()}
    return prompts | {f"what {model} wrote": "as the model's terms say of its output" for model in models}
