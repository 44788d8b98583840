"""Chain tokens a second: our schedule, stage by stage over the corpus, and the one-batch ceiling.

    python benchmarks/chain_schedules.py --engine-args '{"max_num_seqs": 32}'     two cores, a few minutes
    python benchmarks/chain_schedules.py --shape 8b --prompts 1024 --tokens 128 --rows-in-flight 1024   a GPU

    ours       RowRunner and ReviseChain as a worker runs them: window, records, parts on disk
    staged     the same, but no call starts before every row has reached it: respond all, critique all, revise all
    ceiling    the very calls of `ours`, all known up front and submitted at once: what the engine can do

Take more rows than the engine runs at once (`max_num_seqs`), or the ceiling has larger batches than a chain can have.
Answers vary in length: every call of a row is cut after a number of tokens that is drawn for it, the same in every
schedule. Every pass marks its prompts anew, so that none finds another's in the cache. Schedules take turns; the
figures are medians over repeats.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from subjects import add_model_flags, cpu_seconds, marked, model_spec, read_pairs, setting

from constitution import load_constitution
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.chains import ReviseChain
from engine.model import Choice, Completion, Model, Sampling
from engine.records import Prompt, RevisedRow
from engine.rows import RowRunner, Tally
from engine.settings import ReviseSettings, SamplingSettings, StageSettings
from engine.storage import Folder, StageStore
from prompts.messages import Message
from prompts.rendering import PromptSet

SCHEDULES = ("ours", "staged", "ceiling")
LONGEST = 4
"""The longest answer is this many times the mean."""

Asked = tuple[Sequence[Message], Sampling]


@dataclass
class VaryingModel:
    """A model whose answers end after a drawn number of tokens, and which remembers what it was asked.

    Lengths are exponential with the mean `tokens`, from 1 to LONGEST times the mean. They depend on the call's seed
    alone, so that every schedule has the same. With `barrier`, a call waits until every row has come to it.
    """

    model: Model
    tokens: int
    barrier: asyncio.Barrier | None = None
    asked: list[Asked] = field(default_factory=list)
    completion_tokens: int = 0

    def __post_init__(self) -> None:
        self.name = self.model.name
        self.revision = self.model.revision
        self.context_window = self.model.context_window

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """As the model's, of the drawn length."""
        if self.barrier is not None:
            await self.barrier.wait()
        drawn = random.Random(sampling.seed).expovariate(1 / self.tokens)
        sampling = replace(sampling, max_tokens=max(1, min(round(drawn), LONGEST * self.tokens)))
        self.asked.append((messages, sampling))
        return await self.replay(messages, sampling)

    async def replay(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """A call as it was recorded."""
        completion = await self.model.generate(messages, sampling)
        self.completion_tokens += completion.completion_tokens
        return completion

    async def choose(self, messages: Sequence[Message], options: Sequence[str]) -> Choice:
        """As the model's."""
        return await self.model.choose(messages, options)

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """As the model's."""
        return self.model.count_tokens(messages)

    def check_options(self, options: Sequence[str], messages: Sequence[Message] = ()) -> None:
        """As the model's."""
        self.model.check_options(options, messages)

    async def close(self) -> None:
        """Closes the model."""
        await self.model.close()


@dataclass(frozen=True)
class Pass:
    """One schedule over all prompts."""

    seconds: float
    cpu_seconds: float
    calls: int
    tokens: int

    @property
    def speed(self) -> float:
        """Generated tokens a second."""
        return self.tokens / self.seconds

    @property
    def cpu_speed(self) -> float:
        """Generated tokens for every second that a core computed."""
        return self.tokens / self.cpu_seconds


@dataclass
class Chains:
    """The rows, and how each schedule runs them on one engine."""

    model: Model
    rows: Sequence[Prompt]
    flags: argparse.Namespace
    prompts: PromptSet = field(default_factory=PromptSet.load)
    marks: int = 0
    asked: list[Asked] = field(default_factory=list)
    asked_mark: int = 0

    async def run(self, schedule: str) -> Pass:
        """A pass over fresh prompts; the ceiling's calls come from the last pass of `ours` over the same rows."""
        if schedule == "ceiling":
            return await self._at_once()
        return await self._as_rows(in_step=schedule == "staged")

    def _fresh(self) -> list[Prompt]:
        self.marks += 1
        return [marked(prompt, self.marks) for prompt in self.rows]

    async def _as_rows(self, *, in_step: bool) -> Pass:
        barrier = asyncio.Barrier(len(self.rows)) if in_step else None
        model = VaryingModel(self.model, self.flags.tokens, barrier)
        window = len(self.rows) if in_step else self.flags.rows_in_flight
        seconds, cpu = await self._work_off(model, self._fresh(), window)
        if not in_step:
            self.asked, self.asked_mark = model.asked, self.marks
        return Pass(seconds, cpu, len(model.asked), model.completion_tokens)

    async def _work_off(self, model: VaryingModel, rows: Sequence[Prompt], window: int) -> tuple[float, float]:
        """Seconds, of the clock and of the cores, of a worker's runner over the rows, in batches as Ray hands them."""
        sampling = SamplingSettings(max_tokens=LONGEST * self.flags.tokens)
        chain = ReviseChain(
            responder=model,
            critic=model,
            reviser=model,
            prompts=self.prompts,
            constitution=load_constitution("harmlessness"),
            settings=ReviseSettings(
                rounds=self.flags.rounds, on_no_fault="revise", respond=sampling, criticise=sampling, rewrite=sampling
            ),
            seed=0,
        )
        tally = Tally()
        with tempfile.TemporaryDirectory() as folder:
            store = StageStore(Folder(folder), "02_revise", RevisedRow)
            settings = StageSettings(rows_in_flight=window, attempts=1)
            runner = RowRunner(chain, store, settings, (), tally.add)
            size = settings.rows_per_batch
            start, spent = time.perf_counter(), cpu_seconds()
            await asyncio.gather(*(runner.run(rows[first : first + size]) for first in range(0, len(rows), size)))
            seconds, cpu = time.perf_counter() - start, cpu_seconds() - spent
        if tally.failed:
            raise SystemExit(f"{tally.failed} of {len(rows)} rows failed: is the window of the model too short?")
        return seconds, cpu

    async def _at_once(self) -> Pass:
        """The calls of the last pass of `ours`, in its order, under another mark."""
        old, new = f"[{self.asked_mark:06d}]", f"[{self.marks + 1:06d}]"
        self.marks += 1
        calls = [([_with_mark(message, old, new) for message in messages], s) for messages, s in self.asked]
        model = VaryingModel(self.model, self.flags.tokens)
        start, spent = time.perf_counter(), cpu_seconds()
        await asyncio.gather(*(model.replay(messages, sampling) for messages, sampling in calls))
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - spent
        return Pass(seconds, cpu, len(calls), model.completion_tokens)


def _with_mark(message: Message, old: str, new: str) -> Message:
    return Message(role=message["role"], content=message["content"].replace(old, new))


async def measure(spec: ModelSpec, rows: Sequence[Prompt], flags: argparse.Namespace) -> dict[str, list[Pass]]:
    """`flags.repeats` passes of every schedule, in turns."""
    passes: dict[str, list[Pass]] = defaultdict(list)
    model = await open_model(spec)
    try:
        await Chains(model, rows[:4], flags, marks=-1).run("ours")  # starts threads and caches the few-shots
        chains = Chains(model, rows, flags)
        for repeat in range(flags.repeats):
            for schedule in SCHEDULES if repeat % 2 == 0 else ("staged", "ours", "ceiling"):
                passes[schedule].append(await chains.run(schedule))
    finally:
        await model.close()
    return passes


def show(passes: dict[str, list[Pass]]) -> None:
    """The table, and the ratios between passes of the same turn."""
    heads = f"{'schedule':<10}{'calls':>7}{'tokens':>9}{'seconds':>9}{'tokens/s':>10}{'tokens/core-s':>15}"
    print(f"{heads}    share of the ceiling     by core-seconds")
    for schedule in SCHEDULES:
        runs = passes[schedule]
        turns = list(zip(runs, passes["ceiling"], strict=True))
        share = _spread([run.speed / ceiling.speed for run, ceiling in turns])
        cpu_share = _spread([run.cpu_speed / ceiling.cpu_speed for run, ceiling in turns])
        seconds = statistics.median(run.seconds for run in runs)
        speed = statistics.median(run.speed for run in runs)
        cpu_speed = statistics.median(run.cpu_speed for run in runs)
        head = f"{schedule:<10}{runs[0].calls:>7,}{runs[0].tokens:>9,}{seconds:>9.1f}{speed:>10.0f}{cpu_speed:>15.0f}"
        print(f"{head}    {share:<25}{cpu_share}")
    print("shares: median over repeats of the speed beside that of the same turn's ceiling (least and most)")


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_flags(parser)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64, help="mean length of an answer; the longest is 4 times that")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows-in-flight", type=int, default=256, help="rows that `ours` works on at once")
    flags = parser.parse_args()
    rows = [prompt for prompt, _, _ in read_pairs(flags.data, flags.prompts)]
    with tempfile.TemporaryDirectory() as folder:
        passes = asyncio.run(measure(model_spec(flags, Path(folder)), rows, flags))
    show(passes)
    print(setting(flags.backend))


if __name__ == "__main__":
    main()
