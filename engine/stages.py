"""A stage on Ray: prompts in, one worker a model copy, finished rows on disk.

    01_prompts ─► orders: (part, rows) not yet finished ─► StageWorker × replicas ─► receipts ─► driver
                                                            │  reads its prompts, engine, chain, window
                                                            ├─► parts in the run folder
                                                            └─► tallies ─► Board ─► progress, metrics

Ray Data hands out the orders, holds them back while workers are full, scales the pool, and repeats those of a dead
worker. An order only names rows: workers read and write them, so that neither the driver nor the object store grows
with the data, and no task has to start before the first worker (docs/log.md has the figures). Left out on purpose:
what happens to a row (engine/chains.py, comparing.py, rows.py) and what is on disk (engine/storage.py).
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.util.client import ray as client

from engine.backends.spec import ModelSpec
from engine.hosting import RemoteModel, end, end_process, has_engine, host, keep_log, named, resources
from engine.meter import gpus_held, metered
from engine.metrics import StageMetrics
from engine.model import Model, ModelUnavailable
from engine.plan import Plan, open_models
from engine.records import Prompt, from_row
from engine.rows import RowRunner, Tally
from engine.storage import StageStore
from engine.watchdog import heard

log = logging.getLogger(__name__)

MOST_ORDERS = 4_096
"""Of a stage; 16 for each worker where that is more."""
RAYS_ADVICE = "\nFailed to apply UDF transform after "
"""What Ray Data adds to the message of an exception begins so; it goes on about settings that are not a user's."""
STOP_SECONDS = 10.0
"""That a board gets to say which workers there are."""


class StageWorker:
    """The actor that hosts an engine and runs chains beside it."""

    def __init__(self, plan: Plan, prompts: StageStore, remote: Mapping[str, RemoteModel], board: Any) -> None:
        keep_log(plan.store.run, plan.store.name, "worker", plan.models.values())
        self._plan = plan
        self._prompts = prompts
        self._part: tuple[str, pa.Table | None] = ("", None)
        self._remote = remote
        self._board = board
        board.enlist.remote(ray.get_runtime_context().current_actor)
        self._metrics = StageMetrics(plan.store.run, plan.store.name)
        self._starting = asyncio.Lock()
        self._runner: RowRunner | None = None

    async def __call__(self, order: pa.Table) -> pa.Table:
        """A receipt for an order: every prompt it names is on disk, or set aside."""
        async with self._starting:
            if self._runner is None:
                self._runner = await self._start()
        started = time.monotonic()
        (wanted,) = order.to_pylist()
        prompts = [from_row(Prompt, row) for row in self._read(wanted["part"]).take(wanted["rows"]).to_pylist()]
        try:
            done = await self._runner.run(prompts)
        except ModelUnavailable as error:
            if has_engine(self._plan.own_model):
                end_process(f"the engine is gone, the worker ends and starts again: {error}")
            raise
        seconds = time.monotonic() - started
        self._metrics.batch(seconds)
        log.info("%d prompts of %s in %.1f s", done, wanted["part"], seconds)
        return pa.table({"prompts": [done]})

    def _read(self, part: str) -> pa.Table:
        """A part of the prompts; the last one is kept, since orders come in input order."""
        name, table = self._part
        if table is None or name != part:
            table = self._prompts.folder.read_table(part)
            self._part = (part, table)
        return table

    async def _start(self) -> RowRunner:
        started = time.monotonic()
        here = {role: spec for role, spec in self._plan.models.items() if role not in self._remote}
        opened, watched = heard(await open_models(here), self._plan.rows.stall_seconds)
        models: dict[str, Model] = {**self._remote, **opened}  # a model in an actor of its own is watched there
        probe = list({id(model): model for model in models.values()}.values())
        self._metrics.engine_started()
        log.info("open after %.1f s: %s", time.monotonic() - started, ", ".join(model.name for model in probe))
        return RowRunner(self._plan.chain(models), self._plan.store, self._plan.rows, probe, self._report, watched)

    def _report(self, tally: Tally) -> None:
        self._board.add.remote(tally)


class Board:
    """What the workers have done, summed: a Ray actor that the driver looks at, and that Prometheus hears."""

    def __init__(self, store: StageStore, finished: int, prompts: int) -> None:
        self.total = Tally()
        self._workers: list[Any] = []
        self._finished_before = finished
        self._prompts = prompts
        self._metrics = StageMetrics(store.run, store.name)
        self._metrics.stand(finished, prompts)

    def enlist(self, worker: Any) -> None:
        """Notes a worker. Its handle of itself does not keep it alive."""
        self._workers.append(worker)

    def enlisted(self) -> list[Any]:
        """The workers so far, ended ones included."""
        return self._workers

    def add(self, tally: Tally) -> None:
        """Takes a worker's report."""
        self.total.add(tally)
        self._metrics.add(tally)
        self._metrics.stand(self._finished_before + self.total.finished + self.total.failed, self._prompts)

    def read(self) -> Tally:
        """The sums so far."""
        return self.total


def orders(prompts: StageStore, finished: set[str], rows_per_batch: int) -> Iterator[pa.Table]:
    """What is left to do, in input order: tables of one row, `part` and `rows`."""
    for part in prompts.sealed_parts:
        ids = prompts.folder.read_table(part, columns=["item_id"])["item_id"].to_pylist()
        rows = [row for row, item_id in enumerate(ids) if item_id not in finished]
        for start in range(0, len(rows), rows_per_batch):
            yield pa.table({"part": [part], "rows": [rows[start : start + rows_per_batch]]})


def rows_an_order(waiting: int, usual: int, workers: int) -> int:
    """How many prompts an order names.

    Small stages are cut finer than usual, so that every worker gets some and finished rows are reported early. Large
    ones are cut coarser: an order takes some milliseconds and 35 KiB of the driver, however few rows it names.
    """
    finer = min(usual, math.ceil(waiting / (4 * workers)))
    coarser = math.ceil(waiting / max(MOST_ORDERS, 16 * workers))
    return max(1, finer, coarser)


def run_stage(plan: Plan, prompts: StageStore, watch: Callable[[Any, int, int], Any]) -> dict[str, int]:
    """Runs what is left of a stage and seals it. Returns its counts: rows, items, failed.

    `watch(board, finished, total)` is a context manager that shows the progress. Ray must be started. Raises what
    opening a model raises, and ModelUnavailable where a server is gone; what is finished stays.
    """
    plan.store.clear_attempts()
    finished = plan.store.finished()
    total = sum(table.num_rows for table in prompts.tables(["item_id"]))
    if total > len(finished):
        _run_rest(plan, prompts, finished, total, watch)
        gc.collect()  # Ray Data's plans are cycles, and hold the board and the orders until they are found
    elif plan.store.is_sealed:
        marker = plan.store.folder.read_json("_SEALED.json")
        return {name: int(marker[name]) for name in ("rows", "items", "failed")}
    return plan.store.seal()


def _run_rest(plan: Plan, prompts: StageStore, finished: set[str], total: int, watch: Callable[..., Any]) -> None:
    stage = plan.store.name
    board = ray.remote(named(Board, stage)).options(num_cpus=0).remote(plan.store, len(finished), total)
    gpus = gpus_held(plan.models.values(), ray.cluster_resources().get("GPU", 0))
    try:
        with (
            watch(board, len(finished), total),
            metered(plan.store.run, stage, gpus, here=_is_here()),
            _hosted(plan) as hosted,
        ):
            consume = _consume_there if client.is_connected() else _consume
            consume(plan, prompts, finished, total - len(finished), board, hosted)
    except BaseException:
        _stop(board)
        raise


@contextmanager
def _hosted(plan: Plan) -> Iterator[list[RemoteModel]]:
    """The models that have actors of their own, for as long as the stage runs."""
    models: list[RemoteModel] = []
    with ExitStack() as ending:
        for spec in _distinct(plan):
            if spec != plan.own_model and has_engine(spec):
                models.append(host(spec, plan.store, plan.rows.stall_seconds))
                ending.callback(end, models[-1].replicas)
        yield models


def _consume(
    plan: Plan, prompts: StageStore, finished: set[str], waiting: int, board: Any, hosted: Sequence[RemoteModel]
) -> None:
    _set_up_ray_data()
    own = plan.own_model
    remote = {role: model for role, spec in plan.models.items() for model in hosted if model.spec == spec}
    low, high = (own.replicas, own.replicas) if isinstance(own.replicas, int) else own.replicas
    rows = rows_an_order(waiting, plan.rows.rows_per_batch, high)
    # An order ends with its slowest row: it takes two windows of orders to keep one window of rows at work.
    batches = math.ceil(2 * plan.rows.rows_in_flight / rows) + 1
    data = ray.data.from_arrow(list(orders(prompts, finished, rows))).map_batches(
        named(StageWorker, plan.store.name),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(
            min_size=low,
            max_size=high,
            max_tasks_in_flight_per_actor=batches + 2,
            max_concurrent_calls_per_actor=batches,
        ),
        fn_constructor_kwargs={"plan": plan, "prompts": prompts, "remote": remote, "board": board},
        **resources(own),
    )
    data.set_name(plan.store.name)
    try:
        for _ in data.iter_internal_ref_bundles():  # `iter_batches` would leave a thread behind
            pass
    except ray.exceptions.RayError as error:
        raise _cause(error) from None


def _consume_there(*work: Any) -> None:
    """The same as a task of the cluster: Ray Data does not run where there is no Ray, at this end of a Ray client."""
    task = ray.remote(_consume).options(num_cpus=0, max_retries=0).remote(*work)
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        raise _cause(error) from None
    except BaseException:
        ray.cancel(task, force=True)
        raise


def _stop(board: Any) -> None:
    """Ends the workers and the board of a stage that stops early: the exception's trace may hold them for long, and Ray
    Data would have its workers finish what they were given, which may be minutes of calls."""
    with suppress(ray.exceptions.RayError):
        end(ray.get(board.enlisted.remote(), timeout=STOP_SECONDS))
        board.__ray_terminate__.remote()


def _is_here() -> bool:
    """Whether this machine is all that there is of the cluster."""
    alive = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    return alive == [ray.util.get_node_ip_address()]


def _distinct(plan: Plan) -> list[ModelSpec]:
    """The models of a plan, each once. Specifications hold mappings, so they cannot be in a set."""
    found: list[ModelSpec] = []
    for spec in plan.models.values():
        if spec not in found:
            found.append(spec)
    return found


def _cause(error: BaseException) -> BaseException:
    """What the worker raised, out of Ray's wrappings and without what Ray Data adds to its message."""
    while (inner := getattr(error, "cause", None) or error.__cause__) not in (None, error):
        error = inner
    if error.args and isinstance(error.args[0], str):
        error.args = (error.args[0].partition(RAYS_ADVICE)[0], *error.args[1:])
    return error


def _set_up_ray_data() -> None:
    """One reporter speaks on the driver, ours, and what a worker raises arrives as it was."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # its wrapper loses what was raised
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints the trace of what it then raises
