"""The shape of every actor's logic.

A machine is deterministic: messages, datagrams, the time and randomness come in as arguments; what it wants done
goes into its `outbox`, which the shell (or the simulator) empties after every turn. It opens no socket, reads no
clock and raises nothing on what a peer or a user sent.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal, NamedTuple, Protocol

from codexdht.messages.internal import Actor, Message

Level = Literal["debug", "info", "warning", "error"]
_MARGIN_SHARE: Final = 0.25


class LogEvent(NamedTuple):
    """One line for the log. `event` is a fixed text, never made from a peer's bytes: the shell counts repetitions by
    it."""

    level: Level
    event: str
    fields: dict[str, Any]


class Outbox:
    """What a machine wants sent and logged, in order; emptied by its shell.

    `_messages` holds only the actors that something is queued for: a shell mostly finds nothing here.
    """

    __slots__ = ("_messages", "events")

    def __init__(self) -> None:
        self._messages: dict[Actor, list[Message]] = {}
        self.events: list[LogEvent] = []

    def send(self, to: Actor, message: Message) -> None:
        """Queue a message for an actor."""
        queued = self._messages.get(to)
        if queued is None:
            self._messages[to] = [message]
        else:
            queued.append(message)

    def broadcast(self, sender: Actor, message: Message) -> None:
        """Queue a message for every actor but the sender."""
        for actor in Actor:
            if actor is not sender:
                self.send(actor, message)

    def log(self, level: Level, event: str, **fields: Any) -> None:
        """Queue a line for the log."""
        self.events.append(LogEvent(level, event, fields))

    def take(self) -> list[tuple[Actor, list[Message]]]:
        """Return what is queued for each actor that anything is queued for, in the actors' order, and forget it."""
        if not self._messages:
            return []
        taken, self._messages = self._messages, {}
        return sorted(taken.items()) if len(taken) > 1 else list(taken.items())


def earlier(one: float | None, other: float | None) -> float | None:
    """Return the earlier of two times, where None is never."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def reply_margin(most: float, left: float) -> float:
    """Return how long before its deadline a request is answered, of the time left until then: `most`, or a quarter of
    that where it is short, so that there is time to do something at all."""
    return min(most, left * _MARGIN_SHARE)


class Machine(Protocol):
    """What a shell needs of a machine."""

    outbox: Outbox
    counters: Counter[str]

    def boot(self, now: float) -> None:
        """Called once, first: say Hello."""

    def handle(self, message: Message, now: float) -> None:
        """Take one message."""

    def tick(self, now: float) -> None:
        """Do what is due. Called at least when `deadline` has come, and after every batch of messages."""

    def deadline(self) -> float | None:
        """Return when `tick` wants to be called next, or None."""

    def stop(self, now: float) -> None:
        """The process is about to end: put what must still be said or saved into the outbox, or do it."""

    def is_idle(self) -> bool:
        """Tell, after `stop`, whether nothing is owed to anybody any more: the process ends then, or 2.5 s later."""
