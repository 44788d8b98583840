"""A stage in this process, without Ray: for one copy of a model on one machine.

The counterpart of engine/stages.py: the same chains, the same parts on disk, the same rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine.meter import gpus_held, gpus_here, metered
from engine.plan import Plan, open_models
from engine.records import Prompt, from_row
from engine.rows import RowRunner, Tally
from engine.storage import StageStore
from engine.watchdog import heard


def run_stage_here(plan: Plan, prompts: StageStore, report: Callable[[Tally], None]) -> dict[str, int]:
    """Runs what is left of a stage and seals it. Returns its counts: rows, items, failed.

    `report` is told after every part. Raises what opening a model raises, and ModelUnavailable where it is gone; what
    is finished stays.
    """
    if plan.store.is_sealed:
        marker = plan.store.folder.read_json("_SEALED.json")
        return {name: int(marker[name]) for name in ("rows", "items", "failed")}
    plan.store.clear_attempts()
    models = list(plan.models.values())
    available = gpus_here() if any(spec.backend in ("transformers", "vllm") for spec in models) else 0
    with metered(plan.store.run, plan.store.name, gpus_held(models, available), here=True):
        asyncio.run(_run(plan, prompts, report))
    return plan.store.seal()


async def _run(plan: Plan, prompts: StageStore, report: Callable[[Tally], None]) -> None:
    finished = plan.store.finished()
    models, opened = heard(await open_models(plan.models), plan.rows.stall_seconds)
    try:
        runner = RowRunner(plan.chain(models), plan.store, plan.rows, opened, report, opened)
        for table in prompts.tables():
            waiting = [from_row(Prompt, row) for row in table.to_pylist() if row["item_id"] not in finished]
            for start in range(0, len(waiting), plan.rows.rows_in_flight):
                await runner.run(waiting[start : start + plan.rows.rows_in_flight])
    finally:
        for model in opened:
            await model.close()
