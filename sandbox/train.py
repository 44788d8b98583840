"""Trains the micro-model from nothing, on text that the corpus makes on the way.

    python -m sandbox.train --output sandbox/model            about 25 minutes on two free CPU cores
    python -m sandbox.train --tokens 100000 --output /tmp/try a try

Writes tokenizer, weights, configuration, `training.json` (the recipe) and `loss.csv` (the curve) to the folder.
What it leaves out: evaluation, which is `python -m sandbox.evaluate`.
"""

# Tensors are named by their axes: B documents of a batch, T tokens, N targets, V vocabulary.
# ruff: noqa: N803, N806, N815
from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from sandbox.corpus import SHARES, Corpus, Document, Skill
from sandbox.micro_model import LAYERS, WIDTH, micro_config
from sandbox.tokenization import SPECIAL, Encoder, chat_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome, but for the corpus itself."""

    tokens: int = 9_000_000
    """Tokens to train on, padding not counted."""
    batch_tokens: int = 4096
    """Tokens of a step."""
    peak_rate: float = 3e-3
    """Learning rate after the warm-up; it falls to 2 % of it along a cosine."""
    warm_up: float = 0.02
    """The share of the steps in which the rate rises."""
    weight_decay: float = 0.05
    seed: int = 1
    width: int = WIDTH
    layers: int = LAYERS


@dataclass(frozen=True)
class Batch:
    """Documents side by side, padded to the right. `mask_B_T_T` is None where a causal mask will do."""

    ids_B_T: torch.Tensor
    positions_B_T: torch.Tensor
    mask_B_T_T: torch.Tensor | None
    rows_N: torch.Tensor
    """Which token, counted over the flattened batch, predicts a target."""
    targets_N: torch.Tensor
    weights_N: torch.Tensor
    skills_N: list[Skill]
    tokens: int


def make_batch(documents: Sequence[Document], pad: int) -> Batch:
    """Pads documents to one batch."""
    width = max(len(document.ids) for document in documents)
    ids_B_T = torch.full((len(documents), width), pad)
    positions_B_T = torch.zeros((len(documents), width), dtype=torch.long)
    branches_B_T = torch.zeros((len(documents), width), dtype=torch.long)
    rows, targets, weights, skills = [], [], [], []
    for row, document in enumerate(documents):
        length = len(document.ids)
        ids_B_T[row, :length] = torch.tensor(document.ids)
        positions_B_T[row, :length] = torch.tensor(document.positions)
        branches_B_T[row, :length] = torch.tensor(document.branches)
        for target in document.targets:
            rows.append(row * width + target.place)
            targets.append(target.token)
            weights.append(target.weight)
            skills.append(document.skill)
    mask_B_T_T = None
    if not all(document.is_plain for document in documents):
        own = branches_B_T[:, :, None] == branches_B_T[:, None, :]
        mask_B_T_T = (own | (branches_B_T[:, None, :] == 0)) & torch.ones(width, width, dtype=torch.bool).tril()
    return Batch(
        ids_B_T, positions_B_T, mask_B_T_T, torch.tensor(rows), torch.tensor(targets), torch.tensor(weights), skills,
        sum(len(document.ids) for document in documents),
    )  # fmt: skip


def batches(corpus: Corpus, batch_tokens: int, pad: int, group: int = 12) -> Iterator[list[Batch]]:
    """Steps of about `batch_tokens`, each a few batches of documents of one shape and of like lengths.

    Four steps' documents are drawn at once, so that little padding is needed.
    """
    stream = iter(corpus)
    mixed = random.Random(corpus.chance.random())  # noqa: S311 - meant to be repeatable
    while True:
        documents: list[Document] = []
        total = 0
        while total < 4 * batch_tokens:
            documents.append(next(stream))
            total += len(documents[-1].ids)
        documents.sort(key=lambda document: (document.is_plain, len(document.ids)))
        made = []
        for _, alike in itertools.groupby(documents, key=lambda document: document.is_plain):
            listed = list(alike)
            made += [make_batch(listed[start : start + group], pad) for start in range(0, len(listed), group)]
        mixed.shuffle(made)
        for part in range(4):
            yield made[part::4]


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """The cross-entropy of each target, not weighted, shape N. Logits are computed where there is a target only."""
    mask = None if batch.mask_B_T_T is None else batch.mask_B_T_T[:, None]
    hidden_B_T_D = model.model(
        input_ids=batch.ids_B_T, position_ids=batch.positions_B_T, attention_mask=mask, use_cache=False
    ).last_hidden_state
    logits_N_V = model.lm_head(hidden_B_T_D.flatten(0, 1)[batch.rows_N])
    return torch.nn.functional.cross_entropy(logits_N_V, batch.targets_N, reduction="none")


def rate_at(share: float, recipe: Recipe) -> float:
    """The learning rate after a share of the training."""
    if share < recipe.warm_up:
        return recipe.peak_rate * share / recipe.warm_up
    along = (share - recipe.warm_up) / (1 - recipe.warm_up)
    return recipe.peak_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, along))))


def corpus_texts(seed: int, count: int) -> Iterator[str]:
    """Texts of training documents, for the tokenizer to be trained on."""
    byte_encoder = Encoder(train_tokenizer(["The answer is: (A) (B) (yes) (no)"] * 9))
    stream = iter(Corpus(byte_encoder, seed))
    for document in itertools.islice(stream, count):
        text = byte_encoder.tokenizer.decode(document.ids, skip_special_tokens=False)
        for mark in SPECIAL:
            text = text.replace(mark, "\n\n")
        yield from text.split("\n\n")


def train(recipe: Recipe, output: Path) -> None:
    """Trains and writes the model."""
    from transformers import LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = chat_tokenizer(train_tokenizer(corpus_texts(recipe.seed + 1000, 4000)))
    tokenizer.save_pretrained(output)
    encoder = Encoder(tokenizer.backend_tokenizer)
    model = LlamaForCausalLM(micro_config(tokenizer, recipe.width, recipe.layers)).to(torch.float32)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{size / 1e6:.2f} M parameters, {len(tokenizer)} tokens, {torch.get_num_threads()} threads", flush=True)
    started = time.monotonic()
    curve = _train_steps(model, Corpus(encoder, recipe.seed), recipe, output)
    facts = {
        **asdict(recipe), "parameters": size, "shares": SHARES, "seconds": round(time.monotonic() - started),
        "threads": torch.get_num_threads(), "cpu_count": os.cpu_count(),
    }  # fmt: skip
    (output / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    _write_curve(curve, output / "loss.csv")
    model.save_pretrained(output, safe_serialization=True)


def _train_steps(model: Any, corpus: Corpus, recipe: Recipe, output: Path) -> list[dict[str, float]]:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-9)
    curve: list[dict[str, float]] = []
    sums: dict[str, list[float]] = {}
    seen, started, told, saved = 0, time.monotonic(), time.monotonic(), 0.0
    model.train()
    for number, step in enumerate(batches(corpus, recipe.batch_tokens, model.config.pad_token_id)):
        if seen >= recipe.tokens:
            break
        corpus.progress = seen / recipe.tokens
        rate = rate_at(seen / recipe.tokens, recipe)
        for group in optimizer.param_groups:
            group["lr"] = rate
        total = sum(float(batch.weights_N.sum()) for batch in step)
        for batch in step:
            each_N = losses(model, batch)
            torch.autograd.backward((each_N * batch.weights_N).sum() / total)
            _add(sums, batch, each_N.detach())
            seen += batch.tokens
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if number % 50 == 49:
            means = {skill: round(weighted / weight, 4) for skill, (weighted, weight) in sums.items()}
            curve.append({"tokens": seen, "rate": rate, **means})
            sums.clear()
        if time.monotonic() - told > 20 and curve:
            told = time.monotonic()
            speed = seen / (told - started)
            left = (recipe.tokens - seen) / speed / 60
            print(
                f"{seen / 1e6:6.2f} M tokens  {speed / 1e3:5.1f} k/s  {left:4.1f} min left  {json.dumps(curve[-1])}",
                flush=True,
            )
            if told - saved > 150:
                saved = told
                model.save_pretrained(output, safe_serialization=True)
    return curve


def _add(sums: dict[str, list[float]], batch: Batch, each_N: torch.Tensor) -> None:
    """Adds each skill's weighted loss and weight."""
    for skill in set(batch.skills_N):
        chosen = torch.tensor([each == skill for each in batch.skills_N])
        weights = batch.weights_N[chosen]
        entry = sums.setdefault(skill, [0.0, 0.0])
        entry[0] += float((each_N[chosen] * weights).sum())
        entry[1] += float(weights.sum())


def _write_curve(curve: Sequence[dict[str, float]], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["tokens", "rate", *SHARES])
        writer.writeheader()
        writer.writerows(curve)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "model")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    arguments = vars(parser.parse_args())
    output = arguments.pop("output")
    train(Recipe(**arguments), output)


if __name__ == "__main__":
    main()
