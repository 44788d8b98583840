"""A judge asked about pairs that are already there: every principle of a constitution, in both orders.

    pairs ──► PAIRS_AT_A_TIME side by side ──► OUTPUT/pairs/part-NNNNN.parquet, each whole or not at all

Runs in this process, for an audit of some hundreds or thousands of pairs. What is finished stays: asked again for the
same output, it goes on after the last part.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from constitution import Constitution
from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.comparing import CompareChain
from engine.model import Model, PromptTooLong, TemplateRefused
from engine.pairs import Pair, text_of
from engine.progress import PLAIN_SECONDS, duration
from engine.records import Prompt, Vote, as_table
from engine.settings import CompareSettings
from engine.storage import Folder
from prompts.rendering import PromptSet

PAIRS_AT_A_TIME = 32
PLAN_FILE = "judging.json"


@dataclass(frozen=True, slots=True)
class Judging:
    """Who is asked what about which pairs. `limit` takes a sample of so many, drawn by the pairs' ids."""

    source: str
    constitution: Constitution
    judge: ModelSpec
    asking: PromptSet
    limit: int | None = None

    def described(self) -> dict[str, Any]:
        """What a half-finished output must have been made with to go on."""
        return {
            "from": self.source,
            "constitution": self.constitution.hash,
            "model": self.judge.model,
            "templates": self.asking.hashes,
            "limit": self.limit,
        }


def sample(pairs: Iterable[Pair], limit: int | None) -> list[Pair]:
    """As many pairs as asked for, in their order: those with the smallest hashes of their ids, so that a larger sample
    holds a smaller one."""
    everything = list(pairs)
    if limit is None or limit >= len(everything):
        return everything
    drawn = sorted(everything, key=lambda pair: content_hash(["sample", pair.pair_id]))[:limit]
    wanted = {pair.pair_id for pair in drawn}
    return [pair for pair in everything if pair.pair_id in wanted]


def check_output(folder: Folder, judging: Judging) -> None:
    """Raises BadInput where the folder holds something else than this judging, half finished."""
    if not folder.names():
        return
    if not folder.exists(PLAN_FILE) or folder.read_json(PLAN_FILE) != judging.described():
        hint = "name a new or an empty folder"
        raise BadInput(Fault("it holds something else", where=f"output {folder.location}", hint=hint))


def judge_pairs(pairs: Sequence[Pair], judging: Judging, output: Folder, say: Callable[[str], None]) -> None:
    """Writes the pairs with the judge's votes into a pair folder, whose manifest the caller writes; pairs that cannot
    be asked about have none. Raises what opening and asking the model raise; what is finished is kept."""
    output.write_json(PLAN_FILE, judging.described())
    batches = [pairs[start : start + PAIRS_AT_A_TIME] for start in range(0, len(pairs), PAIRS_AT_A_TIME)]
    done = len(output.names("pairs", ".parquet"))
    if done == len(batches):
        return

    async def ask_all() -> None:
        model = await open_model(judging.judge)
        chain = _chain(judging, model)
        start = told = time.monotonic()
        try:
            for number, batch in enumerate(batches[done:], start=done):
                judged = await asyncio.gather(*(_judged(pair, chain) for pair in batch))
                output.write_table(f"pairs/part-{number:05d}.parquet", as_table(judged, Pair))
                now = time.monotonic()
                if now - told >= PLAIN_SECONDS:
                    left = (now - start) / (number + 1 - done) * (len(batches) - number - 1)
                    say(f"{(number + 1) * PAIRS_AT_A_TIME:,} of {len(pairs):,} pairs judged, eta {duration(left)}")
                    told = now
        finally:
            await model.close()

    asyncio.run(ask_all())


def _chain(judging: Judging, model: Model) -> CompareChain:
    return CompareChain(
        responder=model,
        judge=model,
        prompts=judging.asking,
        constitution=judging.constitution,
        settings=CompareSettings(propositions=False),
        seed=0,
    )


async def _judged(pair: Pair, chain: CompareChain) -> Pair:
    """The pair with a vote for each principle and order; without any where two answers to one prompt are not to be had,
    or are longer than the judge's window."""
    votes: Sequence[Vote] = ()
    if pair.prompt and len(pair.chosen) == len(pair.rejected) == 1 and pair.status != "identical":
        asked = Prompt(pair.item_id, pair.index, pair.prompt)
        principles = chain.constitution.for_comparison(pair.category)
        with contextlib.suppress(PromptTooLong, TemplateRefused):
            votes = await chain.votes(asked, text_of(pair.chosen), text_of(pair.rejected), principles)
    return replace(
        pair,
        votes=tuple(votes),
        principle_ids=tuple(dict.fromkeys(vote.principle_id for vote in votes)),
        constitution_hash=chain.constitution.hash,
    )
