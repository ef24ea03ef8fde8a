"""`python -m codexdht.actors.storecheck DIRECTORY`: the check of a store, in a process that damage may bring down.

After a few crashes in a row the store actor has its file checked before it opens it. Reading a garbled file can end a
process by a signal: that is an answer like any other. How else the child may end, killed, out of memory or of time,
says nothing about the file.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from codexdht.actors.log import fields

PROGRAM: Final = (sys.executable, "-m", "codexdht.actors.storecheck")
_SECONDS: Final = 300
"""A million records take 30 s."""
_OF_DAMAGE: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT})
_PARENT_INTERVAL: Final = 0.5

log = logging.getLogger(__name__)


def check_in_child(path: Path, program: Sequence[str] = PROGRAM, seconds: float = _SECONDS) -> list[str]:
    """Return what is wrong with the store in a directory: what the child has found, or the signal that damage ended it
    by. Nothing, and a line in the log, when it could not finish."""
    import subprocess  # takes 1 MB, and is hardly ever needed

    try:
        child = subprocess.run(
            [*program, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _unchecked(f"no end within {seconds:g} s")
    if -child.returncode in _OF_DAMAGE:
        return [f"reading it ends with {signal.Signals(-child.returncode).name}"]
    if child.returncode != 0:
        return _unchecked(f"exit code {child.returncode}")
    return child.stdout.decode().splitlines()


def _unchecked(reason: str) -> list[str]:
    log.warning("store_not_checked", extra=fields(reason=reason))
    return []


def end_with_parent() -> None:
    """Have this process end soon after the one that started it."""
    parent = os.getppid()

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _PARENT_INTERVAL, _PARENT_INTERVAL)


def main(path: str) -> int:
    """Print the problems of a store, one a line. Returns 0 whether there are any or not."""
    from codexdht.errors import StoreError
    from codexdht.store.lmdb_errors import OlderLayout
    from codexdht.store.verify import verify

    try:
        problems = verify(path).problems
    except OlderLayout:  # its pages are sound, or it would have said so before
        problems = []
    except StoreError as error:
        problems = [str(error)]
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(sys.argv[1]))
