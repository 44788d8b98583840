"""Opens a judge, puts questions to it and shows how far it is. Ctrl-C keeps what it has said."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.backends.opening import check_model, open_model
from engine.backends.spec import ModelSpec
from engine.progress import PLAIN_SECONDS
from evaluation.verdicts import Journal, Verdict, ask
from prompts.rendering import Rendered


def judge_verdicts(spec: ModelSpec, questions: Sequence[Rendered], journal: Path) -> list[Verdict]:
    """The verdict on each question. Those in the journal are not asked again.

    Raises BadInput and OptionsNotTokens before a question is asked, ModelUnavailable where the judge is gone.
    """
    check_model(spec)
    kept = Journal(journal)

    async def all_of_them() -> list[Verdict]:
        judge = await open_model(spec)
        try:
            for asked in {each.options: each for each in questions}.values():
                judge.check_options(asked.options, asked.messages)
            with counting("verdicts", len(questions)) as heard:
                return await ask(judge, questions, kept, heard)
        finally:
            await judge.close()

    try:
        return asyncio.run(all_of_them())
    finally:
        kept.close()


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how many are done: a bar on a terminal, a line every 30 s elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=sys.stderr)) as progress:
            task = progress.add_task(what, total=total)
            yield lambda done: progress.update(task, completed=done)
        return
    spoke = time.monotonic()

    def update(done: int) -> None:
        nonlocal spoke
        if time.monotonic() - spoke >= PLAIN_SECONDS:
            spoke = time.monotonic()
            print(f"{what} {done:,}/{total:,} ({done / total:.0%})", file=sys.stderr, flush=True)

    yield update
