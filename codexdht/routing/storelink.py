"""Requests to the store actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from codexdht.messages.internal import Actor, Done, Failed, Message
from codexdht.routing.core import Core
from codexdht.routing.timers import Timer

OnValue = Callable[[Any, float], None]
"""What the store answered (None when it failed or stayed silent, unless an OnRefusal is there for that), now."""
OnRefusal = Callable[[str, str, float], None]
"""Code and text of the store's failure, or of its silence; now."""


class _Owed(NamedTuple):
    """A request, who hears of the answer, and the timer of its deadline."""

    message: Message
    on_value: OnValue
    on_refusal: OnRefusal | None
    end: Timer


class StoreLink:
    """Requests that the store owes an answer for. They are sent again when the store has been restarted, and end by
    their deadlines."""

    __slots__ = ("_last", "_outbox", "_owed", "_timers")

    def __init__(self, core: Core) -> None:
        self._outbox = core.outbox
        self._timers = core.timers
        self._last = 0
        self._owed: dict[int, _Owed] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def ask(
        self,
        request: Callable[..., Message],
        *fields: object,
        on_value: OnValue,
        deadline: float,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        """Send a request of this class, with its fields after the deadline; one of the two is called once."""
        self._last += 1
        number = self._last
        message = request(Actor.ROUTING, number, deadline, *fields)
        end = self._timers.at(deadline, lambda now: self._give_up(number, now))
        self._owed[number] = _Owed(message, on_value, on_refusal, end)
        self._outbox.send(Actor.STORE, message)

    def on_done(self, done: Done, now: float) -> bool:
        """Take an answer; tell whether it was one to us."""
        owed = self._take(done.request)
        if owed is not None:
            owed.on_value(done.value, now)
        return owed is not None

    def on_failed(self, failed: Failed, now: float) -> bool:
        """Take a refusal; tell whether it was one to us."""
        if failed.request in self._owed:
            self._outbox.log("warning", "store_refused", code=failed.code, text=failed.text)
        return self._refuse(failed, now)

    def resend(self) -> None:
        """The store has just started: ask again."""
        for owed in self._owed.values():
            self._outbox.send(Actor.STORE, owed.message)

    def _give_up(self, number: int, now: float) -> None:
        self._refuse(Failed(number, "timeout", "the store actor did not answer in time"), now)

    def _refuse(self, failed: Failed, now: float) -> bool:
        owed = self._take(failed.request)
        if owed is None:
            return False
        if owed.on_refusal is not None:
            owed.on_refusal(failed.code, failed.text, now)
        else:
            owed.on_value(None, now)
        return True

    def _take(self, number: int) -> _Owed | None:
        owed = self._owed.pop(number, None)
        if owed is not None:
            self._timers.cancel(owed.end)
        return owed
