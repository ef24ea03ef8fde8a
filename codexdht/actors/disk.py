"""The thread of an actor that waits for the disk, so that the reactor does not."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import zmq


class DiskThread:
    """Does what it is given one after the other, and wakes the reactor when something is done. A `Port`."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "disk")
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def attach(self, poller: zmq.Poller) -> None:
        """Have the reactor's poller wait for what is done, too."""
        poller.register(self._reader, zmq.POLLIN)

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Have the thread do something."""
        future = self._executor.submit(work)
        future.add_done_callback(self._wake)
        return future

    def drain(self, now: float) -> bool:  # noqa: ARG002
        """Forget what woke the reactor: its machine looks for itself."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(64)
        return False

    def flush(self, now: float) -> None:
        """There is nothing to send."""

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()
        self._reader.close()
        self._writer.close()

    def _wake(self, _done: Future[Any]) -> None:
        with contextlib.suppress(BlockingIOError):  # enough of them wait to be read
            self._writer.send(b"x")
