"""What published code gets wrong about labels, held for every backend: a swap mirrors, nothing unread becomes a
label, chosen is never rejected, and no row is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.chains import ReviseChain
from engine.comparing import CompareChain
from engine.model import Model
from engine.records import Comparison, RevisedRow
from engine.rows import RowRunner, Tally
from engine.settings import CompareSettings, ReviseSettings, StageSettings
from engine.storage import Folder, StageStore
from prompts.rendering import PromptSet
from tests.engine.backends_for_tests import EVERY
from tests.engine.rows_for_tests import constitution, prompt, prompts, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

every_model = pytest.mark.parametrize("model", EVERY, indirect=True)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)
some = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
ASKING = PromptSet.load(use_few_shots=False)


def chain(model: Model, min_mass: float) -> CompareChain:
    return CompareChain(
        responder=model,
        judge=model,
        prompts=ASKING,
        constitution=constitution(),
        settings=CompareSettings(principles=2, min_mass=min_mass, propositions=False),
        seed=5,
    )


def check_label(row: Comparison) -> None:
    label = row.preference()
    assert (label is not None) == (row.status == "decided")
    if label is not None:
        assert label.chosen != label.rejected
        assert 0.5 < label.probability <= 1.0
    for vote in row.votes:
        assert (vote.probability_a is None) == bool(vote.fault)


@every_model
@some
@given(a=texts, b=texts)
async def test_swapping_mirrors_and_the_same_text_has_no_label(model: Model, a: str, b: str) -> None:
    judge = chain(model, min_mass=0.0)
    forward = await judge.compare(prompt(), response(a, 0), response(b, 1))
    backward = await judge.compare(prompt(), response(b, 0), response(a, 1))
    for row in (forward, backward, forward.swap()):
        check_label(row)
    assert (forward.status == "identical") == (a == b)
    if forward.probability_a is not None and backward.probability_a is not None:
        assert forward.probability_a + backward.probability_a == pytest.approx(1.0, abs=2e-3)


@every_model
async def test_too_little_mass_is_no_label(model: Model) -> None:
    row = await chain(model, min_mass=1.0).compare(prompt(), response("one", 0), response("two", 1))
    check_label(row)
    assert row.status == "undecided"
    assert all(vote.fault for vote in row.votes)


@every_model
async def test_every_prompt_comes_out_once(model: Model, tmp_path: Path) -> None:
    short = {"max_tokens": 6}
    revise = ReviseChain(
        responder=model,
        critic=model,
        reviser=model,
        prompts=ASKING,
        constitution=constitution(),
        settings=ReviseSettings.model_validate({"rounds": 1, "respond": short, "criticise": short, "rewrite": short}),
        seed=5,
    )
    total = Tally()
    store = StageStore(Folder(str(tmp_path)), "02_revise", RevisedRow)
    runner = RowRunner(revise, store, StageSettings(rows_in_flight=3, flush_seconds=0.1), [model], total.add)
    rows = prompts(7)
    await asyncio.gather(runner.run(rows[:4]), runner.run(rows[4:]))
    assert store.seal() == {"rows": 7, "items": 7, "failed": 0}
    written = [item for table in store.tables(["item_id"]) for item in table["item_id"].to_pylist()]
    assert written == [row.item_id for row in rows]
    assert total.finished == 7
