"""Pairs as rows of a training: read, held out, mixed, and both conversations as tokens.

sources ─► pairs ─► mixture, weights ─► tokens ─► data/train        preference models and direct optimisation
             └─► held-out prompts, test sets ───► data/held_out     read the same rows
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.backends.chat import Chat, open_chat
from engine.model import TemplateRefused
from engine.pairs import Pair
from engine.records import as_table
from engine.storage import Folder
from prompts.messages import Message
from trainers.launch import Prepared
from trainers.preference_data import (
    PairWeights,
    PreferenceSource,
    bin_of,
    by_prompt,
    label_of,
    load_pairs,
    mixed_pairs,
)
from trainers.preference_figures import Numbers, preference_figures
from trainers.settings import TrainingSettings
from trainers.shared_prefix import shared_length

TRAIN = "data/train/part-00000.parquet"
HELD_OUT = "data/held_out/part-00000.parquet"
SCORES = "data/held_out_scores/part-00000.parquet"
EVALUATION = "evaluation.json"


class PairTrainingSettings(TrainingSettings):
    """A training on labelled pairs."""

    data: tuple[PreferenceSource, ...] = Field(min_length=1)
    """What it learns from. Sources with a `share` are mixed in that ratio."""
    weights: PairWeights = PairWeights()
    """How much pairs count by what propositions said of their answers."""
    held_out: float = Field(default=0.05, ge=0, le=0.5)
    """The share of the prompts, with all their pairs, that it is measured on and does not learn."""
    test: tuple[PreferenceSource, ...] = ()
    """Further pairs that it is measured on, such as the test split of hh-rlhf. Their prompts are not learnt."""

    @model_validator(mode="after")
    def _shares_agree(self) -> PairTrainingSettings:
        given = [source.share is not None for source in self.data]
        if any(given) and not all(given):
            raise ValueError("either every source of data has a share, or none has")
        return self


@dataclass(frozen=True, slots=True)
class EncodedPairRow:
    """A row of `data/train` and `data/held_out`: a pair, and both finished conversations as tokens.

    The first `shared` tokens are the same. `bad` is what propositions gave the two answers, NaN where nobody asked.
    """

    pair_id: str
    item_id: str
    source: str
    bin: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    shared: int
    probability: float
    weight: float
    margin: float
    bad: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ScoredPairRow:
    """A row of `data/held_out_scores`: the rewards that a trained model gives the two answers of a held-out pair."""

    pair_id: str
    item_id: str
    source: str
    probability: float
    chosen_reward: float
    rejected_reward: float


def check_pairs(settings: PairTrainingSettings) -> None:
    """Raises BadInput where a source cannot be read or has nothing to learn from."""
    load_pairs(settings.data, "data")
    load_pairs(settings.test, "test")


def prepare_pairs(settings: PairTrainingSettings, folder: Folder) -> Prepared:
    """Holds out, mixes and tokenises the pairs, and writes them to `data/train` and `data/held_out`."""
    sets, tests = load_pairs(settings.data, "data"), load_pairs(settings.test, "test")
    tested = {pair.item_id for found in tests for pair in found.pairs}
    chat = open_chat(settings.spec)
    longest = min(settings.max_length, chat.context_window)
    encoded: list[dict[str, EncodedPairRow]] = []
    measured: list[EncodedPairRow] = []
    for source, found in zip(settings.data, sets, strict=True):
        free = [pair for pair in found.pairs if pair.item_id not in tested]
        found.left_out["with a prompt that is tested on"] = len(found.pairs) - len(free)
        rows = {row.pair_id: row for row in encode_pairs(free, chat, longest, source.path, found.left_out)}
        fitting = [pair for pair in free if pair.pair_id in rows]
        found.pairs, held_out = by_prompt(fitting, settings.held_out, settings.seed)
        measured += [rows[pair.pair_id] for pair in held_out]
        encoded.append(rows)
    mixed, left_out = mixed_pairs(settings.data, sets, settings.weights, settings.seed)
    rows_of = zip(encoded, mixed, strict=True)
    learnt = [replace(rows[pair.pair_id], weight=pair.weight) for rows, pairs in rows_of for pair in pairs]
    if not learnt:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items()) or "all are held out"
        hint = "see max_length, weights, share and held_out"
        raise BadInput(Fault(f"no pair is left to train on: {reasons}", where="data", hint=hint))
    not_measured: Counter[str] = Counter()
    for source, found in zip(settings.test, tests, strict=True):
        measured += encode_pairs(found.pairs, chat, longest, f"test {source.path}", not_measured)
    folder.write_table(TRAIN, as_table(learnt, EncodedPairRow))
    folder.write_table(HELD_OUT, as_table(measured, EncodedPairRow))
    by_bin = Counter(row.bin for row in learnt if row.bin != "not known")
    return Prepared(
        rows=dict(Counter(row.source for row in learnt)),
        left_out=dict(+left_out),
        data_hash=content_hash([[row.pair_id, row.probability, row.weight, row.margin] for row in learnt]),
        tokens=sum(len(row.chosen_ids) + len(row.rejected_ids) for row in learnt),
        constitutions=tuple(dict.fromkeys(p.constitution_hash for part in mixed for p in part if p.constitution_hash)),
        facts={
            "pairs to measure on": len(measured),
            **{f"pairs not measured on: {reason}": count for reason, count in not_measured.items()},
            **{f"pairs with answers {name}": count for name, count in by_bin.items()},
        },
    )


def encode_pairs(
    pairs: Sequence[Pair], chat: Chat, longest: int, source: str, left_out: Counter[str]
) -> Iterator[EncodedPairRow]:
    """The pairs as tokens, each conversation closed. Pairs with one longer than `longest` are counted, and pairs that
    the chat template refuses."""
    for pair in pairs:
        try:
            chosen, rejected = (
                chat.encode([*pair.prompt, *each], closed=True) for each in (pair.chosen, pair.rejected)
            )
        except TemplateRefused:
            left_out["refused by the chat template"] += 1
            continue
        if max(len(chosen), len(rejected)) > longest:
            left_out[f"longer than {longest} tokens"] += 1
            continue
        yield EncodedPairRow(
            pair_id=pair.pair_id,
            item_id=pair.item_id,
            source=source,
            bin=bin_of(pair),
            prompt=pair.prompt,
            chosen=pair.chosen,
            rejected=pair.rejected,
            chosen_ids=tuple(chosen),
            rejected_ids=tuple(rejected),
            shared=shared_length(chosen, rejected),
            probability=label_of(pair),
            weight=pair.weight,
            margin=pair.margin or 0.0,
            bad=tuple(math.nan if each is None else each for each in (pair.chosen_bad, pair.rejected_bad)),
        )


def evaluated(folder: Folder, rewards_of: Callable[[Sequence[Mapping[str, Any]]], Numbers]) -> dict[str, float]:
    """Measures what gives rewards on `data/held_out`, writes `data/held_out_scores` and `evaluation.json`, and returns
    its main figures."""
    rows = folder.read_table(HELD_OUT).to_pylist()
    rewards = rewards_of(rows) if rows else np.zeros((2, 0))
    scored = [
        ScoredPairRow(row["pair_id"], row["item_id"], row["source"], row["probability"], float(chosen), float(rejected))
        for row, chosen, rejected in zip(rows, *rewards, strict=True)
    ]
    folder.write_table(SCORES, as_table(scored, ScoredPairRow))
    found = {}
    for name, places in measured_sets(rows).items():
        chosen = [rows[place] for place in places]
        found[name] = preference_figures(
            rewards[:, places],
            np.array([row["probability"] for row in chosen]),
            np.array([float(len(row["chosen_ids"]) - len(row["rejected_ids"])) for row in chosen]),
            [row["bin"] for row in chosen],
        )
    folder.write_json(EVALUATION, found)
    return dict(main_figures(found))


def measured_sets(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    """Which rows each evaluation rests on: all that were held out, each source's, and each test set."""
    sets: dict[str, list[int]] = {"held out": []}
    for place, row in enumerate(rows):
        is_test = row["source"].startswith("test ")
        sets.setdefault(row["source"] if is_test else f"held out of {row['source']}", []).append(place)
        if not is_test:
            sets["held out"].append(place)
    return {name: places for name, places in sets.items() if places}


def main_figures(found: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """The figures of the card: accuracies with their intervals and counts, calibration, and the lean to length."""
    for name, figures in found.items():
        if name.startswith("held out of ") and len(found) == 2:
            continue  # the only source
        yield f"pairs, {name}", float(figures["pairs"])
        for key in ("accuracy", "longer_preferred"):
            if figures[key] is not None:
                words = key.replace("_", " ")
                yield f"{words}, {name}", figures[key]["value"]
                yield f"{words}, low end of 95 %, {name}", figures[key]["low"]
                yield f"{words}, high end of 95 %, {name}", figures[key]["high"]
        for key in ("calibration_error", "length_correlation"):
            if figures[key] is not None:
                yield f"{key.replace('_', ' ')}, {name}", figures[key]
