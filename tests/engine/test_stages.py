"""Stages on a real Ray, with scripted models. One Ray for the whole file; it ends with it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
import ray
import yaml

from constitution import load_constitution
from engine.backends.spec import ModelSpec
from engine.cluster import cluster
from engine.cost import usage_of
from engine.model import ModelUnavailable
from engine.plan import ROLES, StagePlan
from engine.records import Comparison, Prompt, RevisedRow
from engine.settings import CompareSettings, ReviseSettings, StageSettings
from engine.stages import MOST_ORDERS, rows_an_order, run_stage
from engine.storage import Folder, StageStore, write_sealed
from prompts.rendering import PromptSet
from tests.engine.rows_for_tests import prompts
from tests.engine.tiny_model import make_tiny_model

pytestmark = pytest.mark.filterwarnings("default")  # Ray's own start-up warns


@pytest.fixture(scope="module", autouse=True)
def metrics_port() -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")  # 10 s otherwise
        with cluster("local", 0.2, [], metrics_port=port):
            yield port


def script(tmp_path: Path, **content: object) -> ModelSpec:
    path = tmp_path / "script.yaml"
    path.write_text(yaml.safe_dump(content))
    return ModelSpec(backend="scripted", model=str(path), cpus=0.1)


def plan_for(
    tmp_path: Path,
    settings: ReviseSettings | CompareSettings,
    spec: ModelSpec,
    count: int,
    name: str = "run",
    **rows: Any,
) -> tuple[StagePlan, StageStore]:
    run = Folder(str(tmp_path / name))
    source = StageStore(run, "01_prompts", Prompt)
    write_sealed(source, [prompts(count)])
    record = RevisedRow if isinstance(settings, ReviseSettings) else Comparison
    plan = StagePlan(
        store=StageStore(run, "stage", record),
        settings=settings,
        models=dict.fromkeys(ROLES[type(settings)], spec),
        constitution=load_constitution("learning"),
        prompts=PromptSet.load(),
        rows=StageSettings.model_validate({"flush_seconds": 0.2, "rows_per_batch": 4, **rows}),
        seed=3,
    )
    return plan, source


def quiet(board: object, finished: int, total: int) -> nullcontext[None]:
    return nullcontext()


def rows_of(store: StageStore) -> list[dict[str, Any]]:
    return [row for table in store.tables() for row in table.to_pylist()]


def test_orders_are_cut_for_small_stages_and_for_large_ones() -> None:
    assert rows_an_order(3, usual=64, workers=4) == 1
    assert rows_an_order(400, usual=64, workers=4) == 25, "four for each worker"
    assert rows_an_order(100_000, usual=64, workers=4) == 64
    assert 1_000_000 / rows_an_order(1_000_000, usual=64, workers=4) <= MOST_ORDERS
    assert 10_000_000 / rows_an_order(10_000_000, usual=64, workers=1_000) > 10 * 1_000, "no worker is left idle"


def test_every_prompt_comes_out_once_in_input_order_with_the_tail(tmp_path: Path) -> None:
    plan, source = plan_for(tmp_path, ReviseSettings(rounds=2), ModelSpec(backend="scripted", model="hash"), 37)
    assert run_stage(plan, source, quiet) == {"rows": 37, "items": 37, "failed": 0}
    rows = rows_of(plan.store)
    assert [row["index"] for row in rows] == list(range(37))
    assert all(len(row["revisions"]) == 2 for row in rows)
    assert run_stage(plan, source, quiet) == {"rows": 37, "items": 37, "failed": 0}, "nothing is left to do"


def test_poison_and_crashing_rows_are_set_aside_and_the_rest_is_done(tmp_path: Path) -> None:
    rules = [{"match": "Question 5\\?", "fail": -1}, {"match": "Question 9\\?", "crash": True}]
    plan, source = plan_for(tmp_path, ReviseSettings(rounds=1), script(tmp_path, rules=rules), 14)
    assert run_stage(plan, source, quiet) == {"rows": 12, "items": 12, "failed": 2}
    by_index = {row["index"]: row for row in plan.store.failures()}
    assert sorted(by_index) == [5, 9]
    assert by_index[5]["error"] == "ModelUnavailable"
    assert "died" in by_index[9]["message"]


def exported(port: int) -> dict[tuple[str, str], float]:
    """The metrics of the run called `metered`, summed over workers: (name, its own label) ► value."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    sums: dict[tuple[str, str], float] = {}
    for line in lines:
        found = re.fullmatch(r"ray_(charter_\w+)\{(.*)\} (\S+)", line)
        if found:
            labels = dict(re.findall(r'(\w+)="(.*?)"', found[2]))
            if (labels["run"], labels["stage"]) == ("metered", "stage"):
                own = [label for name, label in labels.items() if name in ("outcome", "status", "source", "kind")]
                key = (found[1], *own) if own else (found[1], "")
                sums[key] = sums.get(key, 0.0) + float(found[3])
    return sums


def test_prometheus_hears_what_is_on_disk(tmp_path: Path, metrics_port: int) -> None:
    pytest.importorskip("opencensus", reason="ray[default] is not installed, which exports metrics")
    spec = script(tmp_path, rules=[{"match": "Question 5\\?", "fail": -1}])
    plan, source = plan_for(tmp_path, CompareSettings(principles=2), spec, 14, "metered")
    assert run_stage(plan, source, quiet) == {"rows": 13, "items": 13, "failed": 1}
    rows = rows_of(plan.store)
    usage = [each for table in plan.store.tables() for each in usage_of(table).values()]
    expected = {
        ("charter_rows_total", "finished"): 13,
        ("charter_rows_total", "set_aside"): 1,
        ("charter_row_statuses_total", rows[0]["status"]): 13,
        ("charter_retries_total", ""): 2,
        ("charter_calls_total", "model"): sum(each.calls for each in usage),
        ("charter_tokens_total", "prompt"): sum(each.prompt_tokens for each in usage),
        ("charter_tokens_total", "completion"): sum(each.completion_tokens for each in usage),
        ("charter_batch_seconds_count", ""): 4,
        ("charter_engine_starts_total", ""): 1,
    }
    deadline = time.monotonic() + 120
    while not expected.items() <= (found := exported(metrics_port)).items():
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


class KillOnce:
    """Kills the worker process once, as soon as so many prompts are finished."""

    def __init__(self, board: Any, after: int) -> None:
        self.board = board
        self.after = after
        self.killed: list[int] = []
        self.thread = threading.Thread(target=self.kill, daemon=True)

    def kill(self) -> None:
        while ray.get(self.board.read.remote()).finished < self.after:
            time.sleep(0.1)
        for process in psutil.Process().children(recursive=True):
            if "(stage:StageWorker)" in " ".join(process.cmdline()):
                process.kill()
                self.killed.append(process.pid)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.thread.join(timeout=30)
        self.computed = ray.get(self.board.read.remote()).finished


def test_a_killed_worker_costs_only_the_rows_in_flight(tmp_path: Path) -> None:
    spec = script(tmp_path, latency=0.3)
    plan, source = plan_for(tmp_path, ReviseSettings(rounds=1), spec, 24, rows_in_flight=4)
    watches: list[KillOnce] = []

    def watch(board: Any, finished: int, total: int) -> KillOnce:
        watches.append(KillOnce(board, after=6))
        return watches[0]

    assert run_stage(plan, source, watch) == {"rows": 24, "items": 24, "failed": 0}
    assert len(watches[0].killed) == 1
    assert watches[0].computed <= 24, "a row that was reported finished was not computed again"
    assert [row["index"] for row in rows_of(plan.store)] == list(range(24))


def test_labels_hang_on_no_machine(tmp_path: Path) -> None:
    """Two workers with other batches give the same rows as one."""
    settings = CompareSettings(principles=2)
    one = ModelSpec(backend="scripted", model="hash", cpus=0.1)
    two = one.model_copy(update={"replicas": 2})
    first, source = plan_for(tmp_path / "one", settings, one, 20)
    second, other = plan_for(tmp_path / "two", settings, two, 20, rows_per_batch=3)
    run_stage(first, source, quiet)
    run_stage(second, other, quiet)
    assert rows_of(first.store) == rows_of(second.store)


def stage_processes() -> list[str]:
    """The workers and boards of stages, by their command lines."""
    lines = []
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            lines.append(" ".join(each.cmdline()))
    return [line for line in lines if "stage:" in line]


def wait_until_none_is_left(look: Callable[[], Collection[object]]) -> None:
    deadline = time.monotonic() + 60
    while left := look():
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_a_server_that_is_gone_stops_the_stage_and_keeps_what_is_finished(tmp_path: Path) -> None:
    rules = [{"match": "Question (1[0-9])\\?", "fail": -1}, {"match": "^Hello$", "fail": -1}]
    spec = script(tmp_path, rules=rules)
    plan, source = plan_for(tmp_path, ReviseSettings(rounds=0), spec, 20, rows_in_flight=4)
    with pytest.raises(ModelUnavailable) as stopped:
        run_stage(plan, source, quiet)
    wait_until_none_is_left(stage_processes)
    assert str(stopped.value).startswith("the script fails for "), "it is held, and all that its trace holds"
    assert "\n" not in str(stopped.value), "nothing of Ray Data's settings"
    assert not plan.store.is_sealed
    assert list(plan.store.failures()) == []
    healthy, _ = plan_for(tmp_path / "healthy", ReviseSettings(rounds=0), script(tmp_path, rules=[]), 20)
    resumed = replace(plan, models=healthy.models)
    threads = set(threading.enumerate())
    assert run_stage(resumed, source, quiet)["rows"] == 20
    wait_until_none_is_left(lambda: set(threading.enumerate()) - threads)


def test_a_judge_of_its_own_runs_in_its_own_actor(tmp_path: Path) -> None:
    """Two different models: the responder in the worker, the judge in an actor that the worker calls."""
    responder, judge = (
        ModelSpec(model=str(make_tiny_model(tmp_path / name, seed=seed)), context_window=4096, cpus=0.1)
        for name, seed in (("responder", 1), ("judge", 2))
    )
    settings = CompareSettings.model_validate({"min_mass": 0, "propositions": False, "respond": {"max_tokens": 8}})
    plan, source = plan_for(tmp_path, settings, responder, 6)
    plan = replace(plan, models={"responder": responder, "judge": judge}, prompts=PromptSet.load(use_few_shots=False))
    assert run_stage(plan, source, quiet) == {"rows": 6, "items": 6, "failed": 0}
    rows = rows_of(plan.store)
    assert {row["response_a"]["call"]["model"] for row in rows} == {responder.model}
    assert {call["model"] for row in rows for vote in row["votes"] for call in vote["calls"]} == {judge.model}
    assert len({call["revision"] for row in rows for vote in row["votes"] for call in vote["calls"]}) == 1
    assert all(vote["probability_a"] is not None for row in rows for vote in row["votes"])
