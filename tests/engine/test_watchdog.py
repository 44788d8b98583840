from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.model import Completion, ModelUnavailable, Sampling
from engine.records import RevisedRow
from engine.rows import RowRunner, Tally
from engine.settings import StageSettings
from engine.storage import Folder, StageStore
from engine.watchdog import LONGEST_LOOK, Heard
from prompts.messages import Message
from tests.engine.rows_for_tests import ToldModel, prompts, revise_chain

ASKED: list[Message] = [{"role": "user", "content": "Why?"}]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stuck(ToldModel):
    """Leaves calls that hold a word without an answer."""

    def __init__(self, word: str = "") -> None:
        super().__init__()
        self.word = word

    async def generate(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        if self.word in messages[-1]["content"]:
            await asyncio.Event().wait()
        return await super().generate(messages, sampling)


async def looks(model: Heard, clock: Clock, seconds: float, times: int) -> None:
    for _ in range(times):
        clock.now += seconds
        model.check()


async def test_silence_counts_only_while_calls_wait_and_none_is_answered() -> None:
    clock = Clock()
    model = Heard(Stuck("Why"), 20.0, clock)
    await looks(model, clock, 5.0, 10)
    waiting = asyncio.ensure_future(model.generate(ASKED, Sampling()))
    await asyncio.sleep(0)
    await looks(model, clock, 5.0, 3)
    await model.generate([{"role": "user", "content": "another"}], Sampling())
    await looks(model, clock, 5.0, 3)
    with pytest.raises(
        ModelUnavailable, match=r"hangs: it has left 1 calls without any answer for 20 s .*stall_seconds"
    ):
        await looks(model, clock, 5.0, 1)
    waiting.cancel()


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
async def test_a_machine_that_slept_or_whose_clock_was_set_is_no_hang(jump: float) -> None:
    clock = Clock()
    model = Heard(Stuck("Why"), 3 * LONGEST_LOOK, clock)
    waiting = asyncio.ensure_future(model.generate(ASKED, Sampling()))
    await asyncio.sleep(0)
    await looks(model, clock, jump, 2)
    waiting.cancel()


def runner_for(model: Heard, place: Path) -> RowRunner:
    store = StageStore(Folder(str(place)), "02_revise", RevisedRow)
    settings = StageSettings(flush_seconds=0.02, stall_seconds=0.1)
    return RowRunner(revise_chain(model, rounds=0), store, settings, [model], Tally().add, [model])


async def test_a_batch_is_given_up_and_keeps_what_was_finished(tmp_path: Path) -> None:
    runner = runner_for(Heard(Stuck("Question 2?"), 0.1), tmp_path)
    async with asyncio.timeout(20):
        with pytest.raises(ModelUnavailable, match="hangs"):
            await runner.run(prompts(4))
    assert sorted(index for table in runner.store.tables(["index"]) for index in table["index"].to_pylist()) == [
        0,
        1,
        3,
    ]


async def test_the_row_that_makes_every_engine_hang_is_found_and_set_aside(tmp_path: Path) -> None:
    """Each `run` that raises stands for a worker that ended and was started again."""
    rows = prompts(4)
    async with asyncio.timeout(60):
        for _ in range(6):
            runner = runner_for(Heard(Stuck("Question 2?"), 0.1), tmp_path)
            try:
                await runner.run(rows)
                break
            except ModelUnavailable:
                continue
    (failed,) = runner.store.failures()
    assert failed["item_id"] == rows[2].item_id
    assert "alone" in failed["message"]
    assert len([1 for table in runner.store.tables(["index"]) for _ in table["index"]]) == 3
