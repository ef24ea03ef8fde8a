"""Ends a process that hangs, so that supervisord starts it again: it only notices processes that have ended."""

from __future__ import annotations

import faulthandler
from types import TracebackType


class Watchdog:
    """Ends this process with code 1, after the stacks of all its threads on standard error, when it was not fed for
    `patience` seconds.

    The thread that waits for that is written in C and needs no interpreter lock, so it also ends a process that hangs
    inside a library. There can be one in a process.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self._patience = patience

    def __enter__(self) -> Watchdog:
        self.feed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()

    def feed(self) -> bool:
        """Begin to wait anew. Returns False: fed, there is no reason to stop (`Reactor.watch`)."""
        faulthandler.dump_traceback_later(self._patience, exit=True)
        return False
