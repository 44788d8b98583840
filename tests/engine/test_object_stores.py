"""Run folders on a real S3-compatible server, and on stores that do not let us in."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pytest

from engine.records import Prompt
from engine.storage import Folder, StageStore, StorageError, write_sealed
from tests.charter.test_run import finish, stage_rows, start, write_recipe
from tests.engine.rows_for_tests import prompts

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a server of this machine (moto, which keeps objects in memory)."""
    command = Path(__file__).parents[2] / ".venv-moto/bin/moto_server"
    if not command.exists():
        pytest.skip(f"{command} is not there: `make soak` installs it apart from the project's own packages")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "anybody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    request = urllib.request.Request(f"{address}/runs", method="PUT")
                    urllib.request.urlopen(request).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.3)
            yield "s3://runs"
        finally:
            server.terminate()
            server.wait(30)


def test_a_stage_is_written_sealed_and_read_on_s3(bucket: str) -> None:
    store = StageStore(Folder(f"{bucket}/one"), "02_revise", Prompt)
    assert isinstance(store.folder.filesystem, pyarrow.fs.S3FileSystem)
    rows = prompts(10)
    store.write_part("b", 0, rows[5:], [])
    store.write_part("a", 0, rows[:6], [])  # one item twice
    assert store.finished() == {row.item_id for row in rows}
    assert store.seal() == {"rows": 10, "items": 10, "failed": 0}
    assert [index for table in store.tables() for index in table["index"].to_pylist()] == list(range(10))
    assert store.folder.names() == ["_SEALED.json", "part-1-00000.parquet"]


def test_a_whole_run_lands_on_s3_and_is_resumed_there(bucket: str, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "remote")
    status, said = finish(start("run", recipe, "--output", f"{bucket}/remote"))
    assert status == 0, said
    assert finish(start("run", recipe, "--output", f"{bucket}/remote"))[0] == 2, "a run is there already"
    status, said = finish(start("run", recipe, "--output", f"{bucket}/remote", "--resume"))
    assert status == 0, said
    local = finish(start("run", recipe))
    assert local[0] == 0, local[1]
    remote = StageStore(Folder(f"{bucket}/remote"), "03_compare", Prompt)
    rows = [row for table in remote.tables() for row in table.to_pylist()]
    assert rows == stage_rows(tmp_path / "remote", "03_compare")


@pytest.mark.parametrize("address", ["gs://no-bucket-of-anybody-here/run", "s3://no-bucket-of-anybody-here/run"])
def test_a_store_that_does_not_answer_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    began = time.monotonic()
    with pytest.raises((OSError, StorageError)):
        write_sealed(StageStore(Folder(address), "01_prompts", Prompt), [prompts(1)])
    assert time.monotonic() - began < 120
