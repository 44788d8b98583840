"""Charter's engine, as a worker of a run has it: rows side by side under a window, records, parts on disk.

What a user writes for this is recipe.yaml. This script does the same to the job's rows and pairs without Ray, so that
its time is that of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from job import Job, Pair, Recorder

from constitution import load_constitution
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.chains import Chain, ReviseChain
from engine.comparing import CompareChain
from engine.model import Model
from engine.records import Call, Comparison, Prompt, Response, RevisedRow
from engine.rows import RowRunner, Tally
from engine.settings import CompareSettings, ReviseSettings, SamplingSettings, StageSettings
from engine.storage import Folder, StageStore
from prompts.rendering import PromptSet

GIVEN = Call("respond", "", "given", "", 0, 1.0, 1.0, 0, 0, 0, 0, "stop")
"""How the answers of a given pair were drawn: not by this run."""


@dataclass(frozen=True)
class LabelGiven:
    """A CompareChain over answers that are there already."""

    chain: CompareChain
    pairs: dict[str, Pair]

    async def run(self, prompt: Prompt) -> list[Comparison]:
        """The labelled pair."""
        pair = self.pairs[prompt.item_id]
        return [await self.chain.compare(prompt, Response(0, pair.a, GIVEN), Response(1, pair.b, GIVEN))]


async def run_stage(chain: Chain, store: StageStore, prompts: Sequence[Prompt]) -> list[Any]:
    """Every prompt through the chain, in batches as Ray hands them; returns what is on disk then."""
    settings, tally = StageSettings(attempts=1), Tally()
    runner = RowRunner(chain, store, settings, (), tally.add)
    size = settings.rows_per_batch
    await asyncio.gather(*(runner.run(prompts[first : first + size]) for first in range(0, len(prompts), size)))
    if tally.failed:
        raise SystemExit(f"{tally.failed} rows failed")
    store.seal()
    return [row for table in store.tables() for row in table.to_pylist()]


def revise_chain(job: Job, model: Model) -> ReviseChain:
    sampling = SamplingSettings(max_tokens=job.tokens)
    settings = ReviseSettings(
        rounds=job.rounds, on_no_fault="revise", respond=sampling, criticise=sampling, rewrite=sampling
    )
    constitution, prompts = load_constitution("harmlessness"), PromptSet.load()
    return ReviseChain(model, model, model, prompts, constitution, settings, seed=0)


def compare_chain(job: Job, model: Model) -> CompareChain:
    # A model with random weights gives its options next to no probability.
    settings = CompareSettings(principles=len(job.pairs[0].questions), propositions=False, min_mass=0.0)
    return CompareChain(model, model, PromptSet.load(), load_constitution("harmlessness"), settings, seed=0)


async def work(job: Job, recorder: Recorder) -> None:
    folder = Folder(str(recorder.folder / "run"))
    engine: dict[str, Any] = {"max_num_seqs": job.max_num_seqs}
    model = await open_model(ModelSpec(backend="vllm", model=job.model, enforce_eager=True, engine_args=engine))
    try:
        recorder.ready()
        recorder.began("chains")
        prompts = [Prompt.of(row.messages, number) for number, row in enumerate(job.rows)]
        rows = await run_stage(revise_chain(job, model), StageStore(folder, "02_revise", RevisedRow), prompts)
        made = [item["call"] for row in rows for item in (row["response"], *row["critiques"], *row["revisions"])]
        tokens = sum(call["completion_tokens"] for call in made)
        recorder.ended("chains", [row["final"] for row in rows], tokens)

        recorder.began("feedback")
        pairs = {Prompt.of(pair.messages).item_id: pair for pair in job.pairs}
        chain = LabelGiven(compare_chain(job, model), pairs)
        prompts = [Prompt.of(pair.messages, number) for number, pair in enumerate(job.pairs)]
        compared = await run_stage(chain, StageStore(folder, "03_compare", Comparison), prompts)
        labels = [vote["probability_a"] for row in compared for vote in row["votes"]]
        recorder.ended("feedback", labels, len(labels))
    finally:
        await model.close()


if __name__ == "__main__":
    asyncio.run(work(Job.read(), Recorder()))
