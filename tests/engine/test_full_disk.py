"""A stage on a disk that fills up: a clear stop, nothing lost, and it goes on when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from constitution import load_constitution
from engine.backends.spec import ModelSpec
from engine.here import run_stage_here
from engine.plan import ROLES, StagePlan
from engine.records import Prompt, RevisedRow
from engine.rows import Tally
from engine.settings import ReviseSettings, StageSettings
from engine.storage import Folder, StageStore, StorageError, write_sealed
from prompts.rendering import PromptSet
from tests.engine.rows_for_tests import prompts

ROWS = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk is mounted by root alone, where it may")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_stage_on_a_full_disk_stops_and_goes_on_when_there_is_room(disk: Path) -> None:
    run = Folder(str(disk / "run"))
    source = StageStore(run, "01_prompts", Prompt)
    write_sealed(source, [prompts(ROWS)])
    plan = StagePlan(
        store=StageStore(run, "02_revise", RevisedRow),
        settings=ReviseSettings(rounds=1),
        models=dict.fromkeys(ROLES[ReviseSettings], ModelSpec(backend="scripted", model="hash")),
        constitution=load_constitution("learning"),
        prompts=PromptSet.load(),
        rows=StageSettings(rows_in_flight=4),
        seed=0,
    )
    ballast = disk / "ballast"

    def fill(tally: Tally) -> None:
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    with pytest.raises(StorageError, match="No space left on device"):
        run_stage_here(plan, source, fill)
    assert 0 < len(plan.store.finished()) < ROWS
    assert not list(disk.rglob("*.tmp")), "halves are removed"
    ballast.unlink()
    assert run_stage_here(plan, source, lambda tally: None) == {"rows": ROWS, "items": ROWS, "failed": 0}
    assert [index for table in plan.store.tables() for index in table["index"].to_pylist()] == list(range(ROWS))
