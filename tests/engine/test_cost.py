from __future__ import annotations

from pathlib import Path

import pytest

from engine.backends.spec import ModelSpec, Price
from engine.cost import Spent, Usage, spent, stage_cost, usage_of
from engine.progress import EventLog
from engine.records import Comparison, RevisedRow, as_table
from engine.rows import Tally
from engine.storage import Folder, StageStore
from tests.engine.rows_for_tests import (
    ToldModel,
    bad_check,
    compare_chain,
    constitution,
    principle,
    prompt,
    revise_chain,
)

ONE_CALL = Usage(calls=1, prompt_tokens=10, cached_tokens=4, completion_tokens=5)


async def test_every_call_of_a_revised_row_is_counted_by_step() -> None:
    rows = [(await revise_chain(ToldModel(), rounds=3).run(prompt(str(number))))[0] for number in range(4)]
    sums = usage_of(as_table(rows, RevisedRow))
    assert {key: usage.calls for key, usage in sums.items()} == {
        ("respond", "told"): 4,
        ("critique", "told"): 12,
        ("revise", "told"): 12,
    }
    assert sums["critique", "told"] == Usage(12, 120, 48, 60)


async def test_an_answer_shared_by_several_pairs_is_counted_once() -> None:
    law = constitution(principle("safe", propositions=[bad_check("harm").model_dump()]))
    rows = await compare_chain(ToldModel(), law, samples=4).run(prompt())
    sums = usage_of(as_table(rows, Comparison))
    assert len(rows) == 6
    assert sums["respond", "told"].calls == 4
    assert sums["compare", "told"].calls == 12
    assert sums["proposition", "told"].calls == 12
    tally = Tally()
    tally.count(rows)
    assert tally.calls == sum(usage.calls for usage in sums.values())


async def test_the_bill_has_money_where_there_is_a_price(tmp_path: Path) -> None:
    store = StageStore(Folder(str(tmp_path)), "02_revise", RevisedRow)
    store.write_part("aa", 0, await revise_chain(ToldModel(), rounds=1).run(prompt()), [])
    store.seal()
    price = Price(prompt=2.0, cached=1.0, completion=10.0)
    bill = stage_cost(store, {"policy": ModelSpec(model="told", price=price)}, Spent(12.34))
    assert bill["wall_seconds"] == 12.3
    # 6 fresh prompt tokens at 2, 4 cached at 1, 5 generated at 10, a million each.
    assert [step["money"] for step in bill["steps"]] == [pytest.approx(66e-6)] * 3
    assert stage_cost(store, {"policy": ModelSpec(model="told")}, Spent(0))["steps"][0]["money"] is None


def test_wall_time_adds_up_over_every_start_of_a_run(tmp_path: Path) -> None:
    events = EventLog(Folder(str(tmp_path)))
    for seconds in (3.0, 4.5):
        events.write("stage_left", stage="02_revise", seconds=seconds)
    events.write("stage_left", stage="03_compare", seconds=9.0)
    assert spent(Folder(str(tmp_path)), "02_revise") == Spent(7.5)
