"""Requests to the store actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codexdht.messages.internal import Actor, Done, Failed, Message
from codexdht.routing.core import Core

OnValue = Callable[[Any, float], None]
"""What the store answered (None when it failed or stayed silent, unless an OnRefusal is there for that), now."""
OnRefusal = Callable[[str, str, float], None]
"""Code and text of the store's failure, or of its silence; now."""


class StoreLink:
    """Requests that the store owes an answer for. They are sent again when the store has been restarted, and end by
    their deadlines."""

    __slots__ = ("_last", "_outbox", "_owed", "_timers")

    def __init__(self, core: Core) -> None:
        self._outbox = core.outbox
        self._timers = core.timers
        self._last = 0
        self._owed: dict[int, tuple[Message, OnValue, OnRefusal | None]] = {}

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
        self._owed[number] = message, on_value, on_refusal
        self._outbox.send(Actor.STORE, message)
        self._timers.at(deadline, lambda now: self._give_up(number, now))

    def on_done(self, done: Done, now: float) -> bool:
        """Take an answer; tell whether it was one to us."""
        owed = self._owed.pop(done.request, None)
        if owed is not None:
            owed[1](done.value, now)
        return owed is not None

    def on_failed(self, failed: Failed, now: float) -> bool:
        """Take a refusal; tell whether it was one to us."""
        if failed.request in self._owed:
            self._outbox.log("warning", "store_refused", code=failed.code, text=failed.text)
        return self._refuse(failed, now)

    def resend(self) -> None:
        """The store has just started: ask again."""
        for message, _, _ in self._owed.values():
            self._outbox.send(Actor.STORE, message)

    def _give_up(self, number: int, now: float) -> None:
        self._refuse(Failed(number, "timeout", "the store actor did not answer in time"), now)

    def _refuse(self, failed: Failed, now: float) -> bool:
        owed = self._owed.pop(failed.request, None)
        if owed is None:
            return False
        _, on_value, on_refusal = owed
        if on_refusal is not None:
            on_refusal(failed.code, failed.text, now)
        else:
            on_value(None, now)
        return True
