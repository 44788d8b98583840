"""Labels a second for both prompt layouts, with 1, 4 and 16 principles in both orders.

    python benchmarks/feedback_layouts.py                                        two cores, under four minutes
    python benchmarks/feedback_layouts.py --shape 8b --pairs 256                 a GPU, random weights
    python benchmarks/feedback_layouts.py --model organisation/name --pairs 256  a real model

Runs CompareChain.votes over pairs of hh-rlhf (synthetic ones where the file is not there): a label is one vote, read in
one prefill. Every pass marks its conversations anew, so that only what a real run would share is in the cache: the
few-shots, and what the votes about one pair have in common. Passes take turns; the figures are medians over repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from subjects import add_model_flags, cpu_seconds, marked, model_spec, read_pairs, setting

from constitution import Constitution, draw_comparison_principles, load_constitution
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.comparing import CompareChain
from engine.model import Model
from engine.records import Prompt
from engine.settings import CompareSettings
from prompts.rendering import Layout, PromptSet

Pair = tuple[Prompt, str, str]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True)
class Pass:
    """One layout and number of principles over all pairs."""

    seconds: float
    cpu_seconds: float
    labels: int
    prompt_tokens: int
    cached_tokens: int

    @property
    def speed(self) -> float:
        """Labels a second."""
        return self.labels / self.seconds

    @property
    def cpu_speed(self) -> float:
        """Labels for every second that a core computed."""
        return self.labels / self.cpu_seconds

    @property
    def cached(self) -> float:
        """Share of the prompt tokens that came from the cache."""
        return self.cached_tokens / self.prompt_tokens


Passes = dict[tuple[Layout, int], list[Pass]]
"""By layout and number of principles, in the order they were run."""


def judge_chain(model: Model, constitution: Constitution, prompts: PromptSet, principles: int) -> CompareChain:
    """The chain of a run, with no least mass: a model with random weights gives its options next to none."""
    settings = CompareSettings(principles=principles, both_orders=True, min_mass=0.0, propositions=False)
    return CompareChain(model, model, prompts, constitution, settings, seed=0)


async def one_pass(chain: CompareChain, pairs: Sequence[Pair], in_flight: int) -> Pass:
    """Every vote about every pair, `in_flight` pairs at once."""
    window = asyncio.Semaphore(in_flight)
    count = chain.settings.principles
    labels = prompt_tokens = cached_tokens = 0

    async def one_pair(prompt: Prompt, a: str, b: str) -> None:
        nonlocal labels, prompt_tokens, cached_tokens
        item_id = f"{prompt.item_id}:0:1"
        principles = draw_comparison_principles(chain.constitution, seed=0, item_id=item_id, count=count)
        async with window:
            votes = await chain.votes(prompt, a, b, principles)
        labels += sum(vote.probability_a is not None for vote in votes)
        prompt_tokens += sum(call.prompt_tokens for vote in votes for call in vote.calls)
        cached_tokens += sum(call.cached_tokens for vote in votes for call in vote.calls)

    start, spent = time.perf_counter(), cpu_seconds()
    await asyncio.gather(*(one_pair(*pair) for pair in pairs))
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - spent
    if labels != 2 * count * len(pairs):
        raise SystemExit(f"{labels} labels of {2 * count * len(pairs)} votes: some could not be read")
    return Pass(seconds, cpu, labels, prompt_tokens, cached_tokens)


async def measure(spec: ModelSpec, pairs: list[Pair], flags: argparse.Namespace) -> Passes:
    """`flags.repeats` passes of every layout and number of principles, in turns."""
    constitution = load_constitution("harmlessness")
    prompts = {layout: PromptSet.load(layout=layout, use_few_shots=not flags.no_few_shots) for layout in LAYOUTS}
    passes: Passes = defaultdict(list)
    mark = 0

    async def run(layout: Layout, principles: int, over: Sequence[Pair]) -> Pass:
        nonlocal mark
        mark += 1
        fresh = [(marked(prompt, mark), a, b) for prompt, a, b in over]
        chain = judge_chain(model, constitution, prompts[layout], principles)
        return await one_pass(chain, fresh, flags.rows_in_flight)

    model = await open_model(spec)
    try:
        for layout in LAYOUTS:
            await run(layout, 1, pairs[:2])  # a first pass also starts threads and caches the few-shots
        for repeat in range(flags.repeats):
            for principles in flags.principles:
                for layout in LAYOUTS if repeat % 2 == 0 else reversed(LAYOUTS):
                    passes[layout, principles].append(await run(layout, principles, pairs))
    finally:
        await model.close()
    return passes


def show(passes: Passes, counts: Sequence[int]) -> None:
    """The table, and the ratios between passes that ran one after the other."""
    heads = f"{'principles':>10}{'labels':>8}  {'layout':<14}{'labels/s':>10}{'labels/core-s':>15}{'cached':>8}"
    print(f"{heads}{'tokens/label':>14}    ratio               by core-seconds")
    for count in counts:
        turns = list(zip(passes["shared_first", count], passes["paper", count], strict=True))
        ratio = _spread([shared.speed / paper.speed for shared, paper in turns])
        cpu_ratio = _spread([shared.cpu_speed / paper.cpu_speed for shared, paper in turns])
        for layout in LAYOUTS:
            runs = passes[layout, count]
            labels = runs[0].labels
            speed = statistics.median(run.speed for run in runs)
            cpu_speed = statistics.median(run.cpu_speed for run in runs)
            cached = statistics.median(run.cached for run in runs)
            tokens = runs[0].prompt_tokens / labels
            figures = (
                f"{count:>10}{labels:>8,}  {layout:<14}{speed:>10.1f}{cpu_speed:>15.1f}{cached:>8.0%}{tokens:>14,.0f}"
            )
            print(f"{figures}    {ratio:<20}{cpu_ratio}" if layout == "shared_first" else figures)
    print("ratios: shared_first / paper, median over repeats (least and most)")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_flags(parser)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--principles", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-few-shots", action="store_true", help="the few-shots, cached in both layouts, left out")
    parser.add_argument("--rows-in-flight", type=int, default=256, help="pairs at once; a worker's default")
    flags = parser.parse_args()
    pairs = read_pairs(flags.data, flags.pairs)
    with tempfile.TemporaryDirectory() as folder:
        passes = asyncio.run(measure(model_spec(flags, Path(folder)), pairs, flags))
    show(passes, flags.principles)
    print(setting(flags.backend))


if __name__ == "__main__":
    main()
