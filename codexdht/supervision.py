"""Makes supervisord prompt, and lets it write to a standard error that cannot be opened by name.

Its loop waits for its descriptors a second at a time. It was written for a Python in which a signal ended such a
wait; since PEP 475 none does. So the first process starts a second after supervisord, one that died starts again up to
a second after that was noticed, and every priority takes up to a second to stop. A `Waker` is a pipe in that loop;
every signal writes to it.

For each process it opens /dev/stderr anew. Linux opens no socket by name, as which systemd's journal comes, and waits
at a pipe that nobody reads; so supervisord gets a stream to the descriptor that it has anyway, and on that it is
said why a process cannot be started.

The actors run under the Python that supervisord runs under, unless CODEXDHT_PYTHON names another one.

supervisord imports this module when it reads `[rpcinterface:prompt]` in its configuration, and that is all there is
to do. The factory named there it would call if it served XML-RPC, which the supervisord of a node does not.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from typing import IO, Any, Final

from supervisor import events, loggers
from supervisor.medusa import asyncore_25 as loop
from supervisor.states import ProcessStates

_MOST_RESTARTS: Final = 16
_RESTART_SECONDS: Final = 10.0


class Waker:
    """A dispatcher of supervisord's loop, which asks all that are in `socket_map` before and after every wait.

    Invariant: the pipe's write end is the process's wake-up descriptor (`signal.set_wakeup_fd`), its read end is in the
    map. After a child has died there are two turns, as supervisord starts it again in the turn after it was reaped;
    of processes that die again and again, sixteen in ten seconds, then `is_spent`, and it goes at its own pace.
    """

    def __init__(self) -> None:
        self.is_spent = False
        self._restarts: deque[float] = deque([-_RESTART_SECONDS] * _MOST_RESTARTS, _MOST_RESTARTS)
        self._open()

    def __call__(self, *_: object, **__: object) -> object:
        """Return what this module offers by XML-RPC: nothing."""
        return object()

    def _open(self) -> None:
        """Make the pipe, and wake the loop: it should not wait before it starts the processes."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._inode = os.fstat(self._reader).st_ino
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        loop.socket_map[self._reader] = self
        self._wake()

    def _wake(self) -> None:
        os.write(self._writer, b"\0")

    def readable(self) -> bool:
        """Asked before every wait. A supervisord that starts or reloads (SIGHUP) has forgotten who listens to its
        events; one that reloads has closed all descriptors, too: make new ones."""
        for listener in _LISTENERS:
            if listener not in events.callbacks:
                events.subscribe(*listener)
        is_open = self._is_open()
        if not is_open:
            del loop.socket_map[self._reader]
            self._open()
        return is_open

    def _is_open(self) -> bool:
        try:
            return os.fstat(self._reader).st_ino == self._inode
        except OSError:
            return False

    def writable(self) -> bool:
        """Nothing waits to be written."""
        return False

    def handle_read_event(self) -> None:
        """Take the signals that woke the loop: what is to be done about them supervisord knows."""
        if signal.SIGCHLD not in os.read(self._reader, 4096):
            return
        now = time.monotonic()
        self.is_spent = now - self._restarts[0] < _RESTART_SECONDS
        if not self.is_spent:
            self._restarts.append(now)
            self._wake()

    def handle_error(self) -> None:
        """Called when `handle_read_event` raised: end supervisord rather than have it turn without a pause."""
        raise RuntimeError("supervisord's own pipe cannot be read")


class ErrorStream:
    """The stream to a descriptor that is never closed, as far as supervisord's log handlers make use of one.

    What the descriptor does not take (nobody reads it any longer, the disk is full) is lost: an error would have
    supervisord close the pipe that it came from.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Write all of it."""
        with suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Leave the descriptor to the process."""


def _open(name: str, mode: str = "r") -> IO[Any] | ErrorStream:
    """What supervisord's log handlers open their files with."""
    return _STDERR if name == "/dev/stderr" else open(name, mode)


def _tell(event: Any) -> None:
    """Say why a process could not be started: supervisord itself says that to its own log alone."""
    _STDERR.write(
        f"supervisord: cannot start {event.process.config.name}: {event.process.spawnerr}\n".encode()
    )


def _hold_back(event: Any) -> None:
    """Have a process that was not expected to end wait a second, when too many have: whatever it wrote would otherwise
    wake supervisord's loop, which starts it again in every turn."""
    if waker.is_spent and not event.expected:
        event.process.spawnerr += "; starting it again and again, once a second"
        event.process.change_state(ProcessStates.BACKOFF)


_STDERR: Final = ErrorStream(2)
_LISTENERS: Final = (
    (events.ProcessStateBackoffEvent, _tell),
    (events.ProcessStateExitedEvent, _hold_back),
)

os.environ.setdefault("CODEXDHT_PYTHON", sys.executable)
loggers.open = _open
waker: Final = Waker()
