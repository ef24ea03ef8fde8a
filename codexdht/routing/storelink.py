"""Requests to the store actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codexdht.messages.internal import Actor, Done, Failed, Message
from codexdht.messages.machine import Outbox
from codexdht.routing.timers import Timers

Make = Callable[[int, int, float], Message]
"""Asker, request number, deadline → the request."""
OnValue = Callable[[Any, float], None]
"""What the store answered (None when it failed or stayed silent), now."""


class StoreLink:
    """Requests that the store owes an answer for. They are sent again when the store has been restarted, and end by
    their deadlines."""

    __slots__ = ("_last", "_outbox", "_owed", "_timers")

    def __init__(self, outbox: Outbox, timers: Timers) -> None:
        self._outbox = outbox
        self._timers = timers
        self._last = 0
        self._owed: dict[int, tuple[Message, OnValue]] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def ask(self, make: Make, on_value: OnValue, deadline: float) -> None:
        """Send a request; on_value is called once."""
        self._last += 1
        number = self._last
        message = make(Actor.ROUTING, number, deadline)
        self._owed[number] = message, on_value
        self._outbox.send(Actor.STORE, message)
        self._timers.at(deadline, lambda now: self._end(number, None, now))

    def on_done(self, done: Done, now: float) -> bool:
        """Take an answer; tell whether it was one to us."""
        return self._end(done.request, done.value, now)

    def on_failed(self, failed: Failed, now: float) -> bool:
        """Take a refusal; tell whether it was one to us."""
        if failed.request in self._owed:
            self._outbox.log("warning", "store_refused", code=failed.code, text=failed.text)
        return self._end(failed.request, None, now)

    def resend(self) -> None:
        """The store has just started: ask again."""
        for message, _ in self._owed.values():
            self._outbox.send(Actor.STORE, message)

    def _end(self, number: int, value: Any, now: float) -> bool:
        owed = self._owed.pop(number, None)
        if owed is None:
            return False
        owed[1](value, now)
        return True
