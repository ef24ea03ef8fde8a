"""Signals that one process hands on to another."""

from __future__ import annotations

import signal
import subprocess
from typing import Any, Final


class Forwarding:
    """Hands signals on to a process, those that come before it is there as well.

    The end of the terminal (SIGHUP) ends the node: supervisord would take it for a wish to start anew. Signals that
    this process was started to ignore, as under nohup, stay ignored.
    """

    _SENT: Final = {
        signal.SIGINT: signal.SIGINT,
        signal.SIGTERM: signal.SIGTERM,
        signal.SIGHUP: signal.SIGTERM,
    }

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Forwarding:
        for number in self._SENT:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _take(self, number: int, _: object) -> None:
        self.received.append(signal.Signals(number))
        if self._process is not None:
            self._process.send_signal(self._SENT[self.received[-1]])

    def send_to(self, process: subprocess.Popen[bytes]) -> None:
        """Name the process; it gets what has come already."""
        self._process = process
        for number in self.received[:1]:
            process.send_signal(self._SENT[number])
