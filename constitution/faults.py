"""The errors of Charter, and the one way a bad file is reported.

    CharterError                  anything Charter says on purpose
    ├── BadInput                  the user can mend it; exit status 2, before any model is loaded
    ├── ModelError                a call to a model failed        (engine/model.py draws its branches)
    └── StorageError              a run folder is damaged or cannot be written

Every exception crosses Ray, so each can be pickled: all state is in `args`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass


class CharterError(Exception):
    """The root of every error that Charter raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one place of one file.

    `where` names the place in the user's words (a principle id, a recipe key); `line` and `column`
    count from 1, and are 0 where the file has no such position (a Parquet row, a command-line flag).
    """

    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        position = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        place = ": ".join(part for part in (position, self.where) if part)
        text = f"{place}: {self.message}" if place else self.message
        return f"{text} ({self.hint})" if self.hint else text


class BadInput(CharterError):
    """What the user gave is wrong: one or more faults, each with its place and what to do."""

    def __init__(self, faults: Fault | str | Iterable[Fault]) -> None:
        if isinstance(faults, str):
            faults = Fault(faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def check_all(*checks: Callable[[], object]) -> None:
    """Runs every check. Raises one BadInput with the faults of all of them, not those of the first alone."""
    faults: list[Fault] = []
    for check in checks:
        try:
            check()
        except BadInput as error:
            faults += error.faults
    if faults:
        raise BadInput(faults)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'weight'?`, or the known words where none is close, as a fault's hint."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else ""
