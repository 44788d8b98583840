"""The errors of Charter, and the one way a bad file is reported.

    CharterError                  anything Charter says on purpose
    ├── BadInput                  the user can mend it; exit status 2, before any model is loaded
    ├── ModelError                a call to a model failed        (engine/model.py draws its branches)
    └── StorageError              a run folder is damaged or cannot be written

Every exception crosses Ray, so each can be pickled: all state is in `args`.
"""

from __future__ import annotations

import difflib
import re
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


SECRET_PARAMETER = re.compile(r"[?&][^=&]*(key|token|secret|signature|sig|password|credential)[^=&]*=", re.IGNORECASE)


def holds_secret(url: str) -> bool:
    """Whether a URL carries a password, a key or a signature: it would be written into run folders and cards."""
    _, scheme, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    return bool(scheme) and ((bool(at) and ":" in user) or SECRET_PARAMETER.search(rest) is not None)


PLACES_TOLD = 10


def told(faults: Iterable[Fault]) -> list[str]:
    """The faults as a user reads them. What is wrong in the same way in several places of a file is said once."""
    alike: dict[tuple[str, str, str, int], list[Fault]] = {}
    for number, fault in enumerate(faults):
        alone = number if not fault.line else -1  # only lines can be listed in short
        alike.setdefault((fault.file, fault.message, fault.hint, alone), []).append(fault)
    texts = []
    for first, *others in alike.values():
        lines = sorted({fault.line for fault in others} - {first.line})
        more = f", and {len(lines) - PLACES_TOLD:,} more" if len(lines) > PLACES_TOLD else ""
        also = f"; the same in line {', '.join(map(str, lines[:PLACES_TOLD]))}{more}" if lines else ""
        texts.append(f"{first}{also}")
    return texts


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
