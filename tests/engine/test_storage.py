from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine import storage
from engine.records import FailedRow, Prompt
from engine.storage import Folder, StageStore, StorageError, write_sealed
from tests.engine.rows_for_tests import prompts


def store_in(place: Path | str) -> StageStore:
    return StageStore(Folder(str(place)), "02_revise", Prompt)


def failure(row: Prompt) -> FailedRow:
    columns = {name: getattr(row, name) for name in Prompt.__dataclass_fields__}
    return FailedRow(**columns, error="PromptTooLong", message="too long", attempts=1)


def ids(store: StageStore) -> list[str]:
    return [item for table in store.tables(["item_id"]) for item in table["item_id"].to_pylist()]


@pytest.fixture(params=["local", "object store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    # fsspec's memory file system stands for an object store: no rename, no append, no locks.
    return str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run"


def test_sealing_restores_the_input_order_and_keeps_every_row(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "ROWS_PER_SEALED_PART", 7)
    rows = prompts(50)
    store = store_in(place)
    for number, start in enumerate(range(0, 50, 10)):
        shuffled = list(reversed(rows[start : start + 10]))
        store.write_part(f"key{4 - number}", 0, shuffled[:6], [])
        store.write_part(f"key{4 - number}", 1, shuffled[6:], [])
    assert store.seal() == {"rows": 50, "items": 50, "failed": 0}
    assert ids(store) == [row.item_id for row in rows]
    assert len(store.sealed_parts) == 8
    assert store.folder.names("_unsealed") == []


def test_an_item_written_twice_is_kept_once(place: str) -> None:
    rows = prompts(4)
    store = store_in(place)
    store.write_part("aa", 0, rows[:3], [])
    store.write_part("bb", 0, rows[1:], [])
    assert store.seal()["rows"] == 4
    assert ids(store) == [row.item_id for row in rows]


def test_rows_set_aside_are_counted_apart_and_can_be_tried_again(place: str) -> None:
    rows = prompts(4)
    store = store_in(place)
    store.write_part("aa", 0, rows[:2], [failure(rows[2]), failure(rows[3])])
    assert store.finished() == {row.item_id for row in rows}
    assert store.seal() == {"rows": 2, "items": 2, "failed": 2}
    assert [row["item_id"] for row in store.failures()] == [rows[2].item_id, rows[3].item_id]
    store.forget_failures()
    assert store.finished() == {row.item_id for row in rows[:2]}
    store.write_part("bb", 0, rows[3:], [])
    store.write_part("bb", 1, [], [failure(rows[2])])
    assert store.seal() == {"rows": 3, "items": 3, "failed": 1}
    assert ids(store) == [rows[0].item_id, rows[1].item_id, rows[3].item_id]


def test_a_batch_tried_again_finds_what_it_had_finished(place: str) -> None:
    rows = prompts(6)
    store = store_in(place)
    store.write_part("aabb", 0, rows[:2], [])
    store.write_part("aabb", 1, [rows[2]], [failure(rows[3])])
    store.write_part("aacc", 0, rows[4:], [])
    done, number = store.finished_in("aabb")
    assert done == {row.item_id for row in rows[:4]}
    assert number == 2


def test_the_parts_of_a_finished_batch_become_one_and_a_kill_on_the_way_costs_nothing(tmp_path: Path) -> None:
    rows = prompts(6)
    store = store_in(tmp_path)
    for number in range(3):
        store.write_part("aabb", number, rows[2 * number : 2 * number + 2], [])
    store.write_part("aacc", 0, [], [failure(rows[0])])
    first = next(tmp_path.rglob("aabb-0000.parquet"))
    kept = first.read_bytes()
    store.join_parts("aabb")
    store.join_parts("aacc")
    (part,) = tmp_path.rglob("rows/**/*.parquet")
    assert store.finished_in("aabb") == ({row.item_id for row in rows}, 4)
    first.write_bytes(kept)  # as a kill before the last one was deleted leaves it
    store.join_parts("aabb")
    assert part.name == "aabb-0003.parquet"
    assert store.seal()["rows"] == 6
    assert ids(store) == [row.item_id for row in rows]


@pytest.mark.parametrize("kept_bytes", [0, 5, 400])
def test_a_truncated_part_is_moved_aside_and_its_rows_are_redone(tmp_path: Path, kept_bytes: int) -> None:
    rows = prompts(4)
    store = store_in(tmp_path)
    store.write_part("aa", 0, rows[:2], [])
    store.write_part("bb", 0, rows[2:], [])
    (part,) = tmp_path.rglob("bb-0000.parquet")
    part.write_bytes(part.read_bytes()[:kept_bytes])
    assert store.finished() == {rows[0].item_id, rows[1].item_id}
    assert not part.exists()
    assert list(tmp_path.rglob("_damaged/*"))
    store.write_part("cc", 0, rows[2:], [])
    assert store.seal()["rows"] == 4


@pytest.mark.parametrize("damage", [b"", b"PAR1 and then nothing"])
def test_a_damaged_part_of_a_sealed_stage_is_moved_aside_and_its_rows_are_redone(
    tmp_path: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "ROWS_PER_SEALED_PART", 4)
    store, rows = store_in(tmp_path), prompts(10)
    write_sealed(store, [rows])
    Path(store.folder.path(store.sealed_parts[1])).write_bytes(damage)
    with pytest.raises(StorageError, match=store.sealed_parts[1]):
        ids(store)
    assert store.finished() == {row.item_id for row in rows[:4] + rows[8:]}
    assert store.folder.names("_damaged")
    store.write_part("again", 0, rows[4:8], [])
    assert store.seal() == {"rows": 10, "items": 10, "failed": 0}
    assert ids(store) == [row.item_id for row in rows]


def test_a_kill_while_sealing_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops after every single write and delete of `seal` in turn; sealing again must always give the same rows."""
    rows = prompts(30)
    monkeypatch.setattr(storage, "ROWS_PER_SEALED_PART", 8)
    steps = 0
    while True:
        store = store_in(tmp_path / str(steps))
        for number in range(3):
            store.write_part(f"k{number}", 0, rows[number::3], [failure(rows[number])] if number == 9 else [])
        left = steps

        class KilledError(Exception):
            pass

        def guarded(verb: Callable[..., None]) -> Callable[..., None]:
            def act(self: Folder, *arguments: Any) -> None:
                nonlocal left
                if left == 0:
                    raise KilledError
                left -= 1
                return verb(self, *arguments)

            return act

        with monkeypatch.context() as patch:
            patch.setattr(Folder, "write", guarded(Folder.write))
            patch.setattr(Folder, "delete", guarded(Folder.delete))
            try:
                store.seal()
                finished = True
            except KilledError:
                finished = False
        assert store.finished() == {row.item_id for row in rows}
        assert store.seal()["rows"] == 30
        assert ids(store) == [row.item_id for row in rows]
        if finished:
            break
        steps += 1
    assert steps > 5


def test_a_reader_of_the_folder_sees_only_sealed_rows(tmp_path: Path) -> None:
    rows = prompts(3)
    store = store_in(tmp_path)
    write_sealed(store, [rows[:2], rows[2:]])
    store.write_part("zz", 0, rows[:1], [])
    table = pq.read_table(tmp_path / "stages" / "02_revise")
    assert table["item_id"].to_pylist() == [row.item_id for row in rows]


def test_what_a_stopped_freeze_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    rows = prompts(5)
    store = store_in(tmp_path)

    def stopped() -> Iterator[list[Prompt]]:
        yield rows[:2]
        yield rows[2:4]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sealed(store, stopped())
    assert not store.is_sealed
    assert write_sealed(store, [rows[4:]]) == {"rows": 1, "items": 1, "failed": 0}
    assert pq.read_table(tmp_path / "stages" / "02_revise")["item_id"].to_pylist() == [rows[4].item_id]


@pytest.mark.parametrize("name", ["../stolen", "/etc/passwd", "a/../../b", ".."])
def test_a_name_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    """A run folder of a stranger may hold any name."""
    store = store_in(tmp_path / "run")
    store.folder.write_json("_SEALED.json", {"rows": 1, "items": 1, "failed": 0, "generation": 1, "parts": [name]})
    with pytest.raises(StorageError, match="leads out"):
        list(store.tables())
    with pytest.raises(StorageError, match="leads out"):
        store.run.child(name)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "stages").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        store_in(tmp_path).write_part("aa", 0, prompts(1), [])
