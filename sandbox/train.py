"""Trains the micro-model from nothing, on text that the corpus makes on the way.

    python -m sandbox.train --output sandbox/model            about half an hour on two free CPU cores
    python -m sandbox.train --tokens 100000 --output /tmp/try a try
    python -m sandbox.train --resume                          goes on after an interruption, to the same weights

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
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing.spawn import spawn

from sandbox.attention import STEP_BY_STEP, attention_step_by_step
from sandbox.corpus import CURRICULUM, REFINED, Corpus
from sandbox.documents import SKILLS, Document, Skill
from sandbox.micro_model import LAYERS, WIDTH, new_model
from sandbox.tokenization import SPECIAL, Encoder, chat_tokenizer, train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the outcome, but for the corpus itself."""

    tokens: int = 17_000_000
    """Tokens to train on at first, padding not counted."""
    batch_tokens: int = 4096
    """Tokens of a step."""
    peak_rate: float = 4e-3
    """Learning rate after the warm-up."""
    warm_up_tokens: int = 100_000
    """Tokens over which the rate rises."""
    cool_down: float = 0.8
    """The share of the tokens, at the end, over which the rate falls linearly to a fiftieth of its peak."""
    weight_decay: float = 0.05
    refinings: int = 2
    """Parts after that, in which critiques tick off the facts that they look for."""
    refining_tokens: int = 3_000_000
    """Tokens of each."""
    refining_rate: float = 1.2e-3
    """The learning rate that each begins with, which falls linearly from there."""
    seed: int = 1
    device: str = "cpu"
    """`cuda` trains in minutes, to the same figures but not to the same bits."""
    width: int = WIDTH
    layers: int = LAYERS
    workers: int = 2
    """Processes of one thread each that share every step: two threads of one process are hardly faster than one. A GPU
    has one."""


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


def batches(corpus: Corpus, batch_tokens: int, pad: int) -> Iterator[list[Batch]]:
    """Steps of about `batch_tokens`, each of batches of about a quarter of that, the largest first.

    Four steps' documents are drawn at once, so that those of one shape and of like lengths stand together.
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
        made: list[list[Document]] = []
        for document in documents:
            alike = made and made[-1][-1].is_plain == document.is_plain
            if not alike or (len(made[-1]) + 1) * len(document.ids) > batch_tokens // 4:
                made.append([])
            made[-1].append(document)
        mixed.shuffle(made)
        for part in range(4):
            yield sorted((make_batch(each, pad) for each in made[part::4]), key=lambda batch: -batch.tokens)


def share_of(step: Sequence[Batch], rank: int, workers: int) -> list[Batch]:
    """A worker's batches, dealt so that all have about as many tokens: each goes to who has the fewest yet."""
    held: list[list[Batch]] = [[] for _ in range(workers)]
    for batch in step:
        min(held, key=lambda batches: sum(batch.tokens for batch in batches)).append(batch)
    return held[rank]


def losses(model: Any, batch: Batch) -> torch.Tensor:
    """The cross-entropy of each target, not weighted, shape N. Logits are computed where there is a target only."""
    mask = None if batch.mask_B_T_T is None else batch.mask_B_T_T[:, None].to(model.device)
    hidden_B_T_D = model.model(
        input_ids=batch.ids_B_T.to(model.device),
        position_ids=batch.positions_B_T.to(model.device),
        attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    logits_N_V = model.lm_head(hidden_B_T_D.flatten(0, 1)[batch.rows_N.to(model.device)])
    return torch.nn.functional.cross_entropy(logits_N_V, batch.targets_N.to(model.device), reduction="none")


def rate_at(seen: int, recipe: Recipe) -> float:
    """The learning rate after so many tokens: up, level, down."""
    rising = min(1.0, seen / recipe.warm_up_tokens)
    left = 1 - seen / recipe.tokens
    falling = min(1.0, max(0.0, left) / recipe.cool_down)
    return recipe.peak_rate * rising * (0.02 + 0.98 * falling)


def corpus_texts(seed: int, count: int) -> Iterator[str]:
    """Texts of training documents, for the tokenizer to be trained on."""
    byte_encoder = Encoder(train_tokenizer(["The answer is: (A) (B) (yes) (no)"] * 9))
    corpus = Corpus(byte_encoder, seed)
    corpus.progress = 1.0
    stream = iter(corpus)
    for document in itertools.islice(stream, count):
        if document.skill == "copies":
            continue
        text = byte_encoder.tokenizer.decode(document.ids, skip_special_tokens=False)
        for mark in SPECIAL:
            text = text.replace(mark, "\n\n")
        yield from text.split("\n\n")


class Training:
    """A model on its way: the optimiser, what was seen, and the curve so far."""

    def __init__(self, model: Any, recipe: Recipe, output: Path, rank: int = 0) -> None:
        self.rank = rank
        self.model, self.recipe, self.output = model, recipe, output
        self.curve: list[dict[str, float]] = []
        self.seconds, self.tokens_before = 0.0, 0
        self.begin(0)

    def begin(self, part: int) -> None:
        """Begins a part of the training, counted from 0, with new optimisers."""
        layers = [p for p in self.model.model.layers.parameters() if p.dim() == 2]
        inside = {id(p) for p in layers}
        others = [p for p in self.model.parameters() if id(p) not in inside]
        decay = self.recipe.weight_decay
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(layers, lr=0.0, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0),
        ]
        """The matrices of the layers are trained with Muon (Jordan et al. 2024), at the rate of AdamW as in Liu et al.
        (2025): at equal tokens the losses of answers and revisions were a fifth to a third lower (docs/log.md)."""
        self.part, self.steps, self.tokens = part, 0, 0
        self.sums: dict[str, list[float]] = {}

    def run(self, encoder: Encoder) -> None:
        """Trains to the end of the recipe, part by part."""
        told = self.recipe
        refining = replace(told, tokens=told.refining_tokens, peak_rate=told.refining_rate, cool_down=1.0)
        for part in range(self.part, told.refinings + 1):
            if part != self.part:
                self.tokens_before += self.tokens
                self.begin(part)
            self.recipe = refining if part else told
            self._run(Corpus(encoder, told.seed + part, refining=part > 0))

    def _run(self, corpus: Corpus) -> None:
        """Trains to the end of a part. Steps that were taken before are drawn again and passed over."""
        seen, told, saved = 0, time.monotonic(), time.monotonic()
        pad = self.model.config.pad_token_id
        self.model.train()
        for number, step in enumerate(batches(corpus, self.recipe.batch_tokens, pad)):
            if seen >= self.recipe.tokens:
                break
            corpus.progress = 1.0 if corpus.refining else seen / self.recipe.tokens
            seen += sum(batch.tokens for batch in step)
            if number < self.steps:
                continue
            started = time.monotonic()
            self.step(step)
            self.seconds += time.monotonic() - started
            if self.rank > 0:
                continue
            if time.monotonic() - told > 20 and self.curve:
                told = time.monotonic()
                print(self.progress_line(), flush=True)
            if time.monotonic() - saved > 120:
                saved = time.monotonic()
                self.save()

    def step(self, step: Sequence[Batch]) -> None:
        """One step of the optimiser."""
        rate = rate_at(self.tokens, self.recipe)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        total = sum(float(batch.weights_N.sum()) for batch in step)
        for batch in share_of(step, self.rank, self.recipe.workers):
            with torch.autocast(self.recipe.device.split(":")[0], torch.bfloat16):
                each_N = losses(self.model, batch)
            torch.autograd.backward((each_N * batch.weights_N.to(each_N.device)).sum() / total)
            self._add(batch, each_N.detach().cpu())
        self.tokens += sum(batch.tokens for batch in step)
        if self.recipe.workers > 1:
            self._add_up_gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        if self.steps % 50 == 0:
            means = {skill: round(weighted / weight, 4) for skill, (weighted, weight) in self.sums.items()}
            self.curve.append({"tokens": self.tokens_before + self.tokens, "rate": rate, **means})
            self.sums.clear()

    def _add_up_gradients(self) -> None:
        """Sums what the workers found; the share that a worker had no batch for is nought."""
        parameters = list(self.model.parameters())
        flat = torch.cat([p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in parameters])
        torch.distributed.all_reduce(flat)
        for parameter, gradient in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
            parameter.grad = gradient.view_as(parameter)

    def _add(self, batch: Batch, each_N: torch.Tensor) -> None:
        """Adds each skill's weighted loss and weight."""
        for skill in set(batch.skills_N):
            chosen = torch.tensor([each == skill for each in batch.skills_N])
            weights = batch.weights_N[chosen]
            entry = self.sums.setdefault(skill, [0.0, 0.0])
            entry[0] += float((each_N[chosen] * weights).sum())
            entry[1] += float(weights.sum())

    def progress_line(self) -> str:
        """Tokens, speed, time left, and the last losses."""
        speed = (self.tokens_before + self.tokens) / self.seconds
        later = (self.recipe.refinings - self.part) * self.recipe.refining_tokens
        left = (self.recipe.tokens - self.tokens + later) / speed / 60
        losses_of = "  ".join(f"{skill} {self.curve[-1].get(skill, 0):.3f}" for skill in SKILLS)
        done = (self.tokens_before + self.tokens) / 1e6
        return f"{done:6.2f} M tokens  {speed / 1e3:5.1f} k/s  {left:5.1f} min left  {losses_of}"

    def save(self) -> None:
        """Writes the model, the curve, and what `--resume` needs."""
        self.model.save_pretrained(self.output, safe_serialization=True)
        _write_curve(self.curve, self.output / "loss.csv")
        held = ("part", "tokens_before", "curve", "sums", "steps", "tokens", "seconds")
        state = {
            "optimizers": [each.state_dict() for each in self.optimizers],
            **{name: getattr(self, name) for name in held},
        }
        torch.save(state, self.output / STATE)

    def resume(self) -> None:
        """Goes on where `save` stood; from the start where nothing was saved."""
        if not (self.output / STATE).exists():
            return
        from transformers import LlamaForCausalLM

        state = torch.load(self.output / STATE, weights_only=True)
        self.begin(state["part"])
        for optimizer, saved in zip(self.optimizers, state.pop("optimizers"), strict=True):
            optimizer.load_state_dict(saved)
        for name, value in state.items():
            setattr(self, name, value)
        self.model.load_state_dict(LlamaForCausalLM.from_pretrained(self.output).state_dict())


STATE = "state.pt"
"""What `--resume` reads: removed when the training is done."""


def train(recipe: Recipe, output: Path, *, resume: bool = False) -> None:
    """Trains and writes the model."""
    if recipe.device != "cpu":
        recipe = replace(recipe, workers=1)
    output.mkdir(parents=True, exist_ok=True)
    tokenizer = chat_tokenizer(train_tokenizer(corpus_texts(recipe.seed + 1000, 6000)))
    tokenizer.save_pretrained(output)
    if recipe.workers == 1:
        _train(0, recipe, output, resume)
        return
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (recipe, output, resume, f"file://{meeting}/workers")
        spawn(_train, arguments, nprocs=recipe.workers)  # type: ignore[no-untyped-call]


def _train(rank: int, recipe: Recipe, output: Path, resume: bool, meeting: str = "") -> None:
    """What one worker does; the first one writes."""
    from transformers import AttentionInterface, AutoTokenizer

    if recipe.workers > 1:
        torch.set_num_threads(1)
        torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=recipe.workers)
    tokenizer = AutoTokenizer.from_pretrained(output)
    model = new_model(tokenizer, recipe.seed, recipe.width, recipe.layers).to(recipe.device)
    if recipe.device == "cpu":
        AttentionInterface.register(STEP_BY_STEP, attention_step_by_step)
        model.set_attn_implementation(STEP_BY_STEP)
    size = sum(parameter.numel() for parameter in model.parameters())
    if rank == 0:
        print(f"{size / 1e6:.2f} M parameters, {len(tokenizer)} tokens, {recipe.workers} workers", flush=True)
    training = Training(model, recipe, output, rank)
    if resume:
        training.resume()
    training.run(Encoder(tokenizer.backend_tokenizer))
    if recipe.workers > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if rank > 0:
        return
    training.save()
    facts = {
        **asdict(recipe),
        "parameters": size,
        "curriculum": CURRICULUM,
        "refined": REFINED,
        "tokens_seen": training.tokens_before + training.tokens,
        "seconds": round(training.seconds),
    }
    (output / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    (output / STATE).unlink()


def _write_curve(curve: Sequence[dict[str, float]], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["tokens", "rate", *SKILLS])
        writer.writeheader()
        writer.writerows(curve)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "model")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--resume", action="store_true", help="go on where an interrupted training was saved")
    arguments = vars(parser.parse_args())
    output, resume = arguments.pop("output"), arguments.pop("resume")
    train(Recipe(**arguments), output, resume=resume)


if __name__ == "__main__":
    main()
