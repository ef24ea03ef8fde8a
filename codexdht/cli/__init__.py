"""The command line. Commands import what they need when they run: `codexdht --help` answers at once.

Exit codes: 0 done; 1 not found, or failed; 2 wrong usage or input; 3 no node there; 4 out of time, or a ping without
an answer; 78 wrong configuration; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Final

from codexdht.errors import (
    EX_CONFIG,
    BadRequest,
    CodexDhtError,
    InvalidParams,
    InvalidRecord,
    NotRunning,
    RequestTimeout,
    StartupError,
    StoreError,
)

FAILED: Final = 1
USAGE: Final = 2
NO_NODE: Final = 3
OUT_OF_TIME: Final = 4
INTERRUPTED: Final = 130

_CODES: Final[tuple[tuple[type[CodexDhtError], int], ...]] = (
    (BadRequest, USAGE),
    (InvalidParams, USAGE),
    (InvalidRecord, USAGE),
    (NotRunning, NO_NODE),
    (RequestTimeout, OUT_OF_TIME),
    (StoreError, FAILED),
    (StartupError, EX_CONFIG),
)
"""The first class that fits counts; any other error of ours is FAILED."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors are one line on stderr."""
    _prepare_streams()
    try:
        from codexdht.cli.app import app  # takes a moment, in which the user may change their mind

        app(arguments, prog_name="codexdht")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except CodexDhtError as error:
        return _fail(str(error), next((code for kind, code in _CODES if isinstance(error, kind)), FAILED))
    except OSError as error:
        return _fail(f"{error.filename or 'cannot read or write'}: {error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _prepare_streams() -> None:
    """Open what the caller has closed, and let no character be a reason to fail: not every terminal has all of them."""
    sys.stdin, sys.stdout, sys.stderr = (
        open(os.devnull, mode) if stream is None else stream  # noqa: SIM115
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and (stream.encoding, stream.errors) != (
            "utf-8",
            "surrogateescape",
        ):
            stream.reconfigure(errors="backslashreplace")


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"codexdht: {' '.join(text.split())}\n")
    return code
