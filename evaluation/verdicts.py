"""Questions with options put to a judge, and what it answered. Every answer is on disk as soon as it is there.

questions ──not in the journal──► Model.choose ──► Verdict ──► journal
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from constitution.faults import BadInput, Fault
from constitution.hashing import content_hash
from engine.model import Model, PromptTooLong, TemplateRefused
from prompts.reading import BadAnswer, read_choice
from prompts.rendering import Rendered

MIN_MASS = 0.5
"""What the options must hold together for an answer to count, as in a run's comparisons."""
IN_FLIGHT = 256
"""Questions under way at once: what keeps an engine's batch full."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The options' probabilities, given that one of them is said, and the mass that they held before.

    `probabilities` is None where there was no verdict, and then `fault` says why; `mass` is None where the model was
    not heard.
    """

    probabilities: tuple[float, ...] | None
    mass: float | None
    fault: str = ""

    @property
    def choice(self) -> int | None:
        """The likeliest option's index; None where there is none, or several."""
        if self.probabilities is None:
            return None
        top = max(self.probabilities)
        return self.probabilities.index(top) if self.probabilities.count(top) == 1 else None


class Journal:
    """The verdicts so far, one JSON object a line, found again by what was asked of whom.

    A last line that a crash cut short is dropped, and its question asked again.
    """

    def __init__(self, path: Path) -> None:
        """Raises BadInput where the file is no journal or cannot be opened for writing."""
        self._verdicts: dict[str, Verdict] = {}
        try:
            content = path.read_bytes() if path.exists() else b""
            whole = content[: content.rfind(b"\n") + 1]
            for number, line in enumerate(whole.decode().splitlines(), start=1):
                self._remember(line, path, number)
            if len(whole) < len(content):
                os.truncate(path, len(whole))
            self._file: TextIO = path.open("a", encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(Fault(f"the verdicts cannot be kept: {error}", file=str(path))) from None

    def _remember(self, line: str, path: Path, number: int) -> None:
        try:
            row = json.loads(line)
            given = row["probabilities"]
            verdict = Verdict(None if given is None else tuple(given), row["mass"], row["fault"])
            self._verdicts[row["question"]] = verdict
        except (ValueError, KeyError, TypeError):
            hint = "name another output, or remove the file"
            raise BadInput(Fault("this is no verdict", file=str(path), line=number, hint=hint)) from None

    def get(self, question: str) -> Verdict | None:
        """The verdict on a question that was asked before."""
        return self._verdicts.get(question)

    def add(self, question: str, verdict: Verdict) -> None:
        """Keeps a verdict."""
        self._verdicts[question] = verdict
        self._file.write(json.dumps({"question": question, **asdict(verdict)}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Ends writing."""
        self._file.close()


async def ask(
    judge: Model, questions: Sequence[Rendered], journal: Journal, heard: Callable[[int], None] = lambda count: None
) -> list[Verdict]:
    """The judge's verdict on each question. `heard` is told how many are known each time one comes.

    An answer that cannot be read, a question that is too long, or one that the chat template refuses, is a verdict
    with a fault. Raises ModelUnavailable where the judge is gone; what it said so far is in the journal.
    """
    places = asyncio.Semaphore(IN_FLIGHT)
    known = 0

    async def one(question: Rendered) -> Verdict:
        nonlocal known
        name = content_hash([judge.name, judge.revision, list(question.messages), question.options])
        verdict = journal.get(name)
        if verdict is None:
            async with places:
                verdict = await _ask(judge, question)
            journal.add(name, verdict)
        known += 1
        heard(known)
        return verdict

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in questions]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _ask(judge: Model, question: Rendered) -> Verdict:
    mass = None
    try:
        choice = await judge.choose(question.messages, question.options)
        mass = choice.mass
        read = read_choice(choice.log_probabilities, MIN_MASS)
    except (BadAnswer, PromptTooLong, TemplateRefused) as error:
        return Verdict(None, mass, f"{type(error).__name__}: {error}")
    return Verdict(read.probabilities, read.mass)
