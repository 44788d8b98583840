"""Calls the command line as a shell would, in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from unittest import mock

from charter.__main__ import main


@dataclass(frozen=True)
class Called:
    """What a command left behind."""

    status: int
    output: str
    errors: str


def charter(*arguments: str | object) -> Called:
    """`charter ARGUMENTS`."""
    output, errors = io.StringIO(), io.StringIO()
    words: Sequence[str] = ["charter", *(str(argument) for argument in arguments)]
    with (
        mock.patch.object(sys, "argv", list(words)),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
    return Called(status, output.getvalue(), errors.getvalue())
