"""The event loop that every actor's process runs.

One turn: wait until something is readable or a deadline is due; take what has come, up to a bound, without
blocking; tick; send all that the machine wants sent, one batch for each receiver; wait again. A busy node pays one
wake-up for many messages, an idle one no delay.

Besides the mailbox a reactor drives *ports*: the UDP sockets of the wire, the user's sockets of the API.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import zmq

from codexdht.actors.log import EventLog, fields
from codexdht.actors.mailbox import Mailbox
from codexdht.actors.rundir import SUPERVISOR_VARIABLE
from codexdht.messages.internal import ClockSet, Failed, Message, Stats
from codexdht.messages.machine import Machine

_DRAIN = 256
_WATCH_SECONDS = 1.0
_CLOCK_STEP = 0.5
_STOP_SECONDS = 2.5
_MAX_WAIT = 1.0

log = logging.getLogger(__name__)


class Port(Protocol):
    """A source and sink of bytes beside the mailbox."""

    def drain(self, now: float) -> bool:
        """Give the machine what has come, up to a bound; tell whether more may be waiting."""

    def flush(self, now: float) -> None:
        """Send what the machine wants sent."""

    def close(self) -> None:
        """Close the sockets."""


class Reactor:
    """Runs one machine until SIGTERM, SIGINT, or the end of the process that started it.

    Invariant: between two turns the machine's outbox is empty, and so are the outlets of every port.
    """

    def __init__(self, machine: Machine, mailbox: Mailbox, events: EventLog) -> None:
        self.machine = machine
        self.poller = zmq.Poller()
        self.ports: list[Port] = []
        self._mailbox = mailbox
        self._events = events
        self._parent = int(os.environ.get(SUPERVISOR_VARIABLE, os.getppid()))
        self._unix_offset: float | None = None
        self._watches: list[Callable[[], bool]] = [self._parent_is_gone]
        self._watched_at = 0.0
        self._stopping_until: float | None = None
        self._on_hangup: Callable[[], None] = lambda: None
        self.poller.register(mailbox.inbox, zmq.POLLIN)

    def watch(self, is_over: Callable[[], bool]) -> None:
        """Have the reactor ask once a second whether the process should end."""
        self._watches.append(is_over)

    def run(self, on_hangup: Callable[[], None]) -> None:
        """Turn until the end. Closes the mailbox and the ports."""
        self._on_hangup = on_hangup
        with _Signals() as signals:
            self.poller.register(signals.reader.fileno(), zmq.POLLIN)
            now = time.monotonic()
            self._set_clock(now)
            self.machine.boot(now)
            self._flush(now)
            while self._turn(signals):
                pass
        for port in self.ports:
            port.close()
        self._mailbox.close()

    def _turn(self, signals: _Signals) -> bool:
        readable = dict(self.poller.poll(self._timeout(time.monotonic())))
        now = time.monotonic()
        self._set_clock(now)
        self._drain(readable, now)
        self.machine.tick(now)
        if signals.reader.fileno() in readable:
            self._take_signals(signals, now)
        self._flush(now)
        return not self._is_over(now)

    def _timeout(self, now: float) -> int:
        """Milliseconds until the machine's deadline, rounded up: a turn too early would spin."""
        deadline = self.machine.deadline()
        wait = _MAX_WAIT if deadline is None else min(deadline - now, _MAX_WAIT)
        if self._stopping_until is not None:
            wait = min(wait, 0.02)
        return max(0, int(wait * 1000 + 0.999))

    def _drain(self, readable: dict[Any, int], now: float) -> None:
        """Take what has come. To ask a socket in vain costs a system call and an exception: 10 us for the mailbox."""
        has_mail = readable.pop(self._mailbox.inbox, 0)
        if readable:
            for port in self.ports:
                port.drain(now)
        if has_mail:
            self._drain_mailbox(now)

    def _drain_mailbox(self, now: float) -> None:
        handle = self.machine.handle
        for _ in range(_DRAIN):
            batch = self._mailbox.receive()
            if batch is None:
                return
            for message in batch:
                if getattr(message, "deadline", now) < now:
                    self.machine.counters["expired_message"] += 1
                elif isinstance(message, Stats):
                    self._merge_own_counters()
                    handle(message, now)
                else:
                    handle(message, now)

    def _merge_own_counters(self) -> None:
        self.machine.counters.update(self._mailbox.counters)
        self._mailbox.counters.clear()

    def _flush(self, now: float) -> None:
        """Send what the machine wants sent: the ports' first, as that is what somebody outside waits for."""
        for port in self.ports:
            port.flush(now)
        outbox = self.machine.outbox
        for actor, messages in outbox.take():
            refused = self._mailbox.send(actor, messages)
            if refused:
                self._refuse(refused, now)
        if outbox.events:
            for event in outbox.events:
                self._events.write(event, now)
            outbox.events.clear()
        self._events.tick(now)

    def _refuse(self, messages: list[Message], now: float) -> None:
        """Tell the machine that requests of its own could not be sent: its user is answered `busy` at once."""
        for message in messages:
            request = getattr(message, "request", None)
            if request is not None and hasattr(message, "asker"):
                self.machine.handle(Failed(request, "busy", "an actor has too much to do; try again"), now)
        for port in self.ports:
            port.flush(now)

    def _set_clock(self, now: float) -> None:
        """Tell the machine at the start, and when the system clock was stepped, what time it is."""
        offset = time.time() - now
        known = self._unix_offset
        if known is not None and abs(offset - known) < _CLOCK_STEP:
            return
        self._unix_offset = offset
        if known is not None:
            log.warning("system clock stepped", extra=fields(by_seconds=round(offset - known, 1)))
        self.machine.handle(ClockSet(offset), now)

    def _take_signals(self, signals: _Signals, now: float) -> None:
        for number in signals.take():
            if number == signal.SIGHUP:
                self._on_hangup()
            elif self._stopping_until is None:
                self._stop(now)

    def _stop(self, now: float) -> None:
        self._stopping_until = now + _STOP_SECONDS
        self.machine.stop(now)

    def _is_over(self, now: float) -> bool:
        if self._stopping_until is not None:
            return now >= self._stopping_until or self.machine.is_idle()
        if now - self._watched_at >= _WATCH_SECONDS:
            self._watched_at = now
            if any(is_over() for is_over in self._watches):
                self._stop(now)
        return False

    def _parent_is_gone(self) -> bool:
        gone = os.getppid() != self._parent
        if gone:
            log.warning("supervisor is gone; stopping")
        return gone


class _Signals:
    """SIGTERM, SIGINT and SIGHUP as bytes on a socket that the poller can wait for."""

    _NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)
        self._old: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, lambda *_: None) for number in self._NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self.reader.close()
        self._writer.close()

    def take(self) -> bytes:
        """Return the numbers of the signals that have come."""
        try:
            return self.reader.recv(64)
        except BlockingIOError:
            return b""
