"""How a command ends where its long work stops early: what it says, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from constitution.faults import BadInput, CharterError
from engine.printable import printable

INTERRUPTED_STATUS = 130


def resumable(what: str, work: Callable[[], int], resume_hint: Callable[[], None]) -> int:
    """The exit status of `work`; where it stops early, says so, and how to go on.

    Raises BadInput as it comes, since nothing was begun. Any other fault of ours is raised after the hint: its trace is
    worth reporting, and what was finished is safe.
    """
    try:
        return work()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        resume_hint()
        return INTERRUPTED_STATUS
    except BadInput:
        raise
    except CharterError as error:
        print(f"error: {what} stopped: {printable(str(error))}", file=sys.stderr)
        resume_hint()
        return 1
    except Exception:
        resume_hint()
        raise
