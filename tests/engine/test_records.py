from __future__ import annotations

import io
from dataclasses import asdict, fields, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.records import (
    Comparison,
    FailedRow,
    Preference,
    Prompt,
    RevisedRow,
    arrow_schema,
    as_table,
    derived_seed,
    from_row,
)
from tests.engine.rows_for_tests import ToldModel, compare_chain, prefer_longer, prompt, response, revise_chain


def stored(records: list[object], record: type) -> list[object]:
    """Through Parquet and back."""
    sink = io.BytesIO()
    pq.write_table(as_table(records, record), sink)
    return [from_row(record, row) for row in pq.read_table(sink).to_pylist()]


async def test_every_row_comes_back_from_parquet_as_it_was() -> None:
    (revised,) = await revise_chain(ToldModel(), rounds=2).run(prompt())
    pair = await compare_chain(ToldModel(weigh=prefer_longer)).compare(prompt(), response("a"), response("bb", 1))
    undecided = await compare_chain(ToldModel()).compare(prompt(), response("a"), response("a", 1))
    assert stored([revised], RevisedRow) == [revised]
    assert stored([pair, undecided], Comparison) == [pair, undecided]
    assert stored([pair.preference()], Preference) == [pair.preference()]


async def test_every_row_carries_what_its_prompt_said() -> None:
    asked = replace(prompt(index=7), source="f.csv:8", category="illicit", vector="story", extra='{"note": "x"}')
    (revised,) = await revise_chain(ToldModel()).run(asked)
    pair = await compare_chain(ToldModel(weigh=prefer_longer)).compare(asked, response("a"), response("bb", 1))
    for row in (revised, pair):
        assert {field.name: getattr(row, field.name) for field in fields(Prompt)} == asdict(asked)


def test_a_missing_value_is_refused_where_the_record_must_have_one() -> None:
    schema = arrow_schema(FailedRow)
    assert not schema.field("item_id").nullable
    assert arrow_schema(Comparison).field("probability_a").nullable
    assert schema.metadata[b"charter.record"] == b"FailedRow"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    one = prompt(text)
    assert stored([one], Prompt) == [one]


def test_the_item_id_hangs_on_the_whole_conversation() -> None:
    base = prompt("How?")
    assert prompt("How?", 5).item_id == base.item_id
    assert prompt("How? ").item_id != base.item_id
    longer = Prompt.of([{"role": "system", "content": "s"}, *base.messages])
    assert longer.item_id != base.item_id


def test_seeds_hang_on_their_parts_alone() -> None:
    assert derived_seed(1, "x", "respond", 0) == derived_seed(1, "x", "respond", 0)
    seeds = {derived_seed(seed, item, step) for seed in range(20) for item in "abc" for step in ("respond", "revise")}
    assert len(seeds) == 120
    assert all(0 <= seed < 2**31 for seed in seeds)


async def test_swapping_twice_is_the_same_comparison() -> None:
    pair = await compare_chain(ToldModel(weigh=prefer_longer)).compare(prompt(), response("a"), response("bb", 1))
    again = pair.swap().swap()
    assert again.response_a == pair.response_a
    assert [vote.order for vote in again.votes] == [vote.order for vote in pair.votes]
    assert again.probability_a == pytest.approx(pair.probability_a)
    assert pair.swap().preference() is not None
    assert pair.swap().preference().chosen == pair.preference().chosen  # type: ignore[union-attr]


def test_a_column_of_the_wrong_type_is_not_written() -> None:
    with pytest.raises((pa.ArrowInvalid, pa.ArrowTypeError)):
        pa.Table.from_pylist([{"item_id": 5}], schema=arrow_schema(Prompt))
