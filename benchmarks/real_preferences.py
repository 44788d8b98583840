"""A preference model on real pairs, made on two cores from nothing, against what needs no model.

    python benchmarks/real_preferences.py --output /tmp/real [--data FILE] [--folds 4]

    pairs of the other folds ─► a tokenizer, a tiny Llama ─► `sft` on both answers ─► `pm` on soft labels ─► this fold

The pairs are those of hh-rlhf (beside the checkout, or a file in its form), cut to the last question and its answers.
Every fold is measured by a model that saw nothing of its prompts, labels or texts; the figures are over all folds.
hh-rlhf only says which answer was preferred, and other people would often have preferred the other one: `--probability`
is how certain its labels are taken to be. Beside it stands the same training with labels taken for certain.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from small_model import make_model
from subjects import HARMLESS

from charter.training import execute_training, settings_class
from evaluation.estimates import Estimate, clustered_mean
from prompts.messages import Message
from trainers.preference_data import PreferenceSource, load_pairs
from trainers.preference_figures import calibration_error
from trainers.scoring import open_scorer

LONGEST = 256


def last_exchanges(path: Path) -> list[dict[str, str]]:
    """Each pair with the last question before it. Pairs that share a prompt have the same `item`."""
    (found,) = load_pairs([PreferenceSource(path=str(path))], "data")
    return [
        {
            "item": pair.item_id,
            "prompt": pair.prompt[-1]["content"],
            "chosen": pair.chosen[-1]["content"],
            "rejected": pair.rejected[-1]["content"],
        }
        for pair in found.pairs
        if pair.prompt and len(pair.chosen) == len(pair.rejected) == 1
    ]


def write_lines(file: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The rows as a source of a training."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [{"path": str(file)}]


def train(kind: str, folder: Path, **given: Any) -> Path:
    """The run folder of a training, gone on with where it was begun."""
    told = {"name": folder.name, "output": str(folder), "seed": 1, "max_length": LONGEST, **given}
    execute_training(kind, settings_class(kind).model_validate(told), resume=(folder / "settings.yaml").exists())
    return folder


def backbone(folder: Path, rows: Sequence[dict[str, str]], epochs: float) -> Path:
    """A tiny Llama that has learnt to write either answer."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [row[side] for row in rows for side in ("chosen", "rejected")]
    model = make_model(folder / "random", "tiny", [*texts, *(row["prompt"] for row in rows)])
    answers = [
        {"prompt": row["prompt"], "completion": row[side]}
        for row in rows
        for side in ("chosen", "rejected")
        if row[side].strip()  # some say nothing, which cannot be learnt
    ]
    how = {"learning_rate": 2e-3, "batch_size": 32, "micro_batch_size": 32, "epochs": epochs, "schedule": "cosine"}
    source = write_lines(folder / "answers.jsonl", answers)
    return train("sft", folder / "backbone", model=str(model), demonstrations=source, optimization=how)


def differences(model: Path, rows: Sequence[dict[str, str]]) -> list[float]:
    """Score of the preferred answer minus that of the other. Conversations that are too long count as a tie."""
    scores = open_scorer(str(model), batch_size=64).score(
        [
            [Message(role="user", content=row["prompt"]), Message(role="assistant", content=row[side])]
            for row in rows
            for side in ("chosen", "rejected")
        ]
    )
    pairs = zip(scores[::2], scores[1::2], strict=True)
    return [0.0 if a is None or b is None else a - b for a, b in pairs]


def told(name: str, credit: Sequence[float], items: Sequence[str], floors: Sequence[Sequence[float]] = ()) -> str:
    """One line of the table. A pair is worth 1 where it is ordered rightly, 1/2 where neither answer is preferred."""
    above = [[own - its for own, its in zip(credit, floor, strict=True)] for floor in floors]
    cells = [ranged(clustered_mean(credit, items), "{:.1%}"), f"{len(credit):,}"]
    cells += [ranged(clustered_mean(more, items), "{:+.1%}") for more in above]
    return f"| {name} | " + " | ".join(cells)


def ranged(found: Estimate, form: str) -> str:
    """A share and its interval, in two cells."""
    return f"{form.format(found.value)} | {form.format(found.low)} to {form.format(found.high)}"


def credit_of(differences: Sequence[float]) -> list[float]:
    """What each pair is worth, by how much more the preferred answer scores."""
    return [0.5 + 0.5 * float(np.sign(difference)) for difference in differences]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, default=HARMLESS)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--measure", type=int, help="only the first so many folds")
    parser.add_argument("--probability", type=float, default=0.75, help="of every label")
    parser.add_argument("--backbone-epochs", type=float, default=6)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    flags = parser.parse_args()
    rows = last_exchanges(flags.data)
    items = sorted({row["item"] for row in rows})
    random.Random(1).shuffle(items)
    fold_of = {item: place % flags.folds for place, item in enumerate(items)}
    measured: list[dict[str, str]] = []
    found: dict[str, list[float]] = {"soft": [], "hard": []}
    for fold in range(flags.measure or flags.folds):
        folder = flags.output / f"fold-{fold}"
        learnt = [row for row in rows if fold_of[row["item"]] != fold]
        held_out = [row for row in rows if fold_of[row["item"]] == fold]
        model = backbone(folder, learnt, flags.backbone_epochs)
        source = write_lines(folder / "pairs.jsonl", [{**row, "probability": flags.probability} for row in learnt])
        for labels, differs in found.items():
            trained = train(
                "pm",
                folder / labels,
                model=str(model),
                data=[{**source[0], "labels": labels}],
                held_out=0,
                loss={"centring": 0.01},
                optimization={
                    "learning_rate": flags.learning_rate,
                    "epochs": flags.epochs,
                    "schedule": "cosine",
                    "warmup": 0.1,
                    "weight_decay": 0.1,
                    "batch_size": 32,
                    "micro_batch_size": 32,
                },
            )
            differs += differences(trained, held_out)
        measured += held_out
        print(table(measured, found, len(rows)), flush=True)


def table(rows: Sequence[dict[str, str]], found: dict[str, list[float]], pairs: int) -> str:
    """What each way of preferring comes to on the pairs that were measured so far."""
    items = [row["item"] for row in rows]
    coin = random.Random(1)
    first = [float(coin.random() < 0.5) for _ in rows]
    longer = credit_of([float(len(row["chosen"]) - len(row["rejected"])) for row in rows])
    beside = "more than the longer | 95 % | more than the first | 95 % | calibration error |"
    lines = [f"{pairs:,} pairs", "", f"| prefers | accuracy | 95 % | pairs | {beside}", "|---" * 9 + "|"]
    lines.append(told("the first, in an order drawn by a coin", first, items) + " |" * 6)
    lines.append(told("the longer answer", longer, items) + " |" * 6)
    for labels, differs in found.items():
        line = told(f"a preference model on {labels} labels", credit_of(differs), items, (longer, first))
        error = calibration_error(np.array(differs), np.ones(len(rows)))
        lines.append(f"{line} | {'' if error is None else f'{error:.3f}'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
