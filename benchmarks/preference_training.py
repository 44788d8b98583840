"""Preference-model training against TRL's RewardTrainer as it is, on the same rows, batches and model.

    python benchmarks/preference_training.py [--steps 8] [--model FOLDER]

Three kinds of pairs: short prompts (answers of about 60 words), real ones (hh-rlhf, where its file is), and long
prompts (about 500 words before answers of about 60). Both trainers take turns, each from fresh weights. Compared are
the time of a step of the optimiser and its core-seconds, which are steadier where other jobs share the machine.
Tokens are those of both conversations of a pair, whether they are computed twice or not.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from small_model import make_model
from subjects import HARMLESS, WORDS, cpu_seconds, read_pairs, setting
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import RewardConfig, RewardTrainer

from engine.backends.chat import open_chat
from engine.backends.spec import ModelSpec
from engine.pairs import Pair
from prompts.messages import Message
from trainers.pair_rows import encode_pairs
from trainers.preference_trainer import COLUMNS, PreferenceTrainer
from trainers.shared_prefix import read_at_ends

WARM_UP = 2


class Clock(TrainerCallback):  # type: ignore[misc]
    """Seconds and core-seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []
        self._last = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._last = (time.perf_counter(), cpu_seconds())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append((time.perf_counter() - self._last[0], cpu_seconds() - self._last[1]))


def words(count: int, step: int, number: int) -> str:
    """So many words that differ from row to row."""
    return " ".join(WORDS[(number * step + place * (step + place)) % len(WORDS)] for place in range(count))


def made_pairs(count: int, prompt_words: int) -> list[Pair]:
    """Pairs with a prompt of so many words and answers of 50 to 70."""
    return [
        pair(
            number,
            [Message(role="user", content=f"Question {number}: {words(prompt_words, 7, number)}?")],
            words(50 + number % 20, 3, number),
            words(70 - number % 20, 5, number),
        )
        for number in range(count)
    ]


def pair(number: int, prompt: Sequence[Message], chosen: str, rejected: str) -> Pair:
    """A labelled pair."""
    answers = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
    return Pair(
        pair_id=str(number),
        item_id=str(number),
        index=number,
        prompt=tuple(prompt),
        chosen=answers[0],
        rejected=answers[1],
        probability=0.8,
        order_consistent=None,
        status="given",
        both_bad=None,
        votes=(),
        finish_reasons=(),
        principle_ids=(),
        constitution_hash="",
        source="",
        category="",
        vector="",
    )


def subjects(count: int) -> dict[str, list[Pair]]:
    """The kinds of pairs, by name."""
    found = {"short prompts": made_pairs(count, 10)}
    if HARMLESS.exists():
        real = read_pairs(HARMLESS, count)
        found["hh-rlhf"] = [pair(n, prompt.messages, a, b) for n, (prompt, a, b) in enumerate(real)]
    found["long prompts"] = made_pairs(count, 500)
    return found


def run(ours: bool, model: str, rows: datasets.Dataset, flags: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds and core-seconds of each step after the warm-up."""
    clock = Clock()
    weights = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.bos_token or tokenizer.pad_token
    with tempfile.TemporaryDirectory() as folder:
        arguments: dict[str, Any] = {
            "args": RewardConfig(
                output_dir=folder,
                use_cpu=flags.cpu,
                bf16=not flags.cpu,
                gradient_checkpointing=False,
                per_device_train_batch_size=flags.batch,
                max_steps=flags.steps + WARM_UP,
                max_length=None,
                learning_rate=1e-6,
                logging_steps=10**6,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            "train_dataset": rows,
            "processing_class": tokenizer,
            "callbacks": [clock],
        }
        if ours:
            trainer: Any = PreferenceTrainer(read_at_ends(weights), **arguments)
        else:
            trainer = RewardTrainer(weights, **arguments)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.steps[WARM_UP:]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", help="a model folder; without it, one is made with random weights")
    parser.add_argument("--steps", type=int, default=8, help="of each trainer and turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="pairs")
    parser.add_argument("--longest", type=int, default=2048, help="tokens of a conversation")
    flags = parser.parse_args()
    flags.cpu = not torch.cuda.is_available()
    datasets.disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model = flags.model or str(make_model(Path(folder), "small"))
        chat = open_chat(ModelSpec(model=model))
        print("| pairs | tokens a pair, shared | ours, tokens/s | TRL, tokens/s | ratio | ratio by core-seconds |")
        print("|---|---|---|---|---|---|")
        for name, pairs in subjects(flags.batch * (flags.steps + WARM_UP)).items():
            left_out: Counter[str] = Counter()
            encoded = list(encode_pairs(pairs, chat, flags.longest, name, left_out))
            table = [{column: getattr(row, column) for column in COLUMNS} for row in encoded]
            rows = datasets.Dataset.from_list([{**row, "bad": list(row["bad"])} for row in table])
            print(line(name, rows, model, flags), flush=True)
    print(setting("transformers"))


def line(name: str, rows: datasets.Dataset, model: str, flags: argparse.Namespace) -> str:
    """One line of the table."""
    tokens = [len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows]
    shared = sum(row["shared"] for row in rows) / len(rows)
    clock_ratios: list[float] = []
    core_ratios: list[float] = []
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(flags.turns):
        took = {ours: run(ours, model, rows, flags) for ours in (True, False)}
        seconds, cores = (
            {ours: statistics.median(step[kind] for step in steps) for ours, steps in took.items()} for kind in (0, 1)
        )
        clock_ratios.append(seconds[False] / seconds[True])
        core_ratios.append(cores[False] / max(cores[True], 1e-9))
        for which in took:
            speeds[which].append(flags.batch * statistics.mean(tokens) / seconds[which])
    ours, trl = (statistics.median(speeds[which]) for which in (True, False))
    return (
        f"| {name} | {statistics.mean(tokens):.0f}, {shared:.0f} | {ours:,.0f} | {trl:,.0f} | {told(clock_ratios)} | "
        f"{told(core_ratios)} |"
    )


def told(ratios: Sequence[float]) -> str:
    """The median, and the least and most."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


if __name__ == "__main__":
    main()
