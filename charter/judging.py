"""A constitution's own tests, put to a judge: does it prefer the better answer under the principle, in both orders?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from constitution import BadInput, Constitution, Fault, Principle
from engine.backends.opening import open_model
from engine.backends.spec import ModelSpec
from engine.comparing import CompareChain
from engine.labels import label_of
from engine.model import Model
from engine.records import Prompt, Vote
from engine.settings import CompareSettings
from prompts.rendering import PromptSet


@dataclass(frozen=True)
class TestResult:
    """One test. `probability` is that of the better answer, averaged over both orders; None where it was not read."""

    __test__ = False  # not a test of ours

    principle_id: str
    prompt: str
    probability: float | None
    same_in_both_orders: bool | None
    fault: str

    @property
    def right(self) -> bool:
        """Decided, and for the better answer."""
        return self.probability is not None and self.probability > 0.5 + 1e-6

    @property
    def tie(self) -> bool:
        """Read, and for neither."""
        return self.probability is not None and abs(self.probability - 0.5) <= 1e-6


def run_tests(
    constitution: Constitution, principles: Sequence[Principle], judge: ModelSpec, asking: PromptSet
) -> list[TestResult]:
    """Asks every test of the principles, side by side. Raises BadInput where there are none."""
    cases = [(principle, case) for principle in principles if principle.comparison for case in principle.tests]
    if not cases:
        hint = "add a 'tests' list with prompt, better and worse to a principle that has a comparison"
        raise BadInput(Fault("there are no tests to put to the judge", where=constitution.name, hint=hint))

    async def ask_all() -> list[TestResult]:
        model = await open_model(judge)
        try:
            chain = _chain(constitution, model, asking)
            asked = (_ask(chain, principle, case.prompt, case.better, case.worse) for principle, case in cases)
            return list(await asyncio.gather(*asked))
        finally:
            await model.close()

    return asyncio.run(ask_all())


def _chain(constitution: Constitution, model: Model, asking: PromptSet) -> CompareChain:
    settings = CompareSettings(propositions=False)
    return CompareChain(
        responder=model, judge=model, prompts=asking, constitution=constitution, settings=settings, seed=0
    )


async def _ask(chain: CompareChain, principle: Principle, prompt: str, better: str, worse: str) -> TestResult:
    asked = Prompt.of([{"role": "user", "content": prompt}])
    votes: list[Vote] = await chain.votes(asked, better, worse, [principle])
    probability, consistent = label_of(votes, both_orders=True)
    faults = [vote.fault for vote in votes if vote.fault]
    return TestResult(
        principle_id=principle.id,
        prompt=prompt,
        probability=probability,
        same_in_both_orders=None if consistent is None else consistent == 1.0,
        fault=faults[0] if faults else "",
    )


def tell_tests(results: Sequence[TestResult], console: Console | None = None) -> float:
    """Prints a line a principle and every test that went wrong. Returns the share that was right."""
    console = console or Console()
    table = Table("principle", "tests", "right", "order flips", "ties", "not read")
    for column in table.columns[1:]:
        column.justify = "right"
    for principle_id in dict.fromkeys(result.principle_id for result in results):
        mine = [result for result in results if result.principle_id == principle_id]
        table.add_row(principle_id, *(str(count) for count in _counts(mine)))
    table.add_section()
    table.add_row("all", *(str(count) for count in _counts(results)))
    console.print(table)
    for result in results:
        if not result.right:
            said = result.fault or f"P(better) {result.probability:.3f}"
            console.print(f"wrong: {result.principle_id}: {result.prompt!r}: {said}", highlight=False, markup=False)
    share = sum(result.right for result in results) / len(results)
    console.print(f"accuracy {share:.3f} on {len(results)} tests", highlight=False)
    return share


def _counts(results: Sequence[TestResult]) -> tuple[int, int, int, int, int]:
    return (
        len(results),
        sum(result.right for result in results),
        sum(result.same_in_both_orders is False for result in results),
        sum(result.tie for result in results),
        sum(result.probability is None for result in results),
    )
