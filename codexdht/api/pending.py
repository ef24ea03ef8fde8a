"""Requests of users that have not been answered yet."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Final

from codexdht.errors import API_ERRORS, ApiError, InternalError
from codexdht.messages.internal import Actor, Done, Failed, Message

Envelope = tuple[bytes, ...]
Answer = Done | Failed | None
"""What an actor said, None while it has said nothing."""
Finish = Callable[[list[Answer]], Any]
"""Makes the result from the answers to a plan's messages, in their order; raises ApiError."""

_SLACK: Final = 64


def error_of(failed: Failed) -> ApiError:
    """Return what an actor's failure is to the user."""
    return API_ERRORS.get(failed.code, InternalError)(failed.text)


class Pending:
    """One request: where its reply goes, until when, and what it waits for.

    `reply_at` is when its time is over and it is answered with what there is, `deadline` the one that actors are given.
    `answers` belongs to the messages that were sent for it, by `numbers`, and `owed` counts those without an answer.
    """

    __slots__ = (
        "answers",
        "deadline",
        "envelope",
        "finish",
        "is_open",
        "method",
        "numbers",
        "owed",
        "reply_at",
        "size",
    )

    def __init__(self, envelope: Envelope, method: str, reply_at: float, deadline: float, size: int) -> None:
        self.envelope = envelope
        self.method = method
        self.reply_at = reply_at
        self.deadline = deadline
        self.size = size
        self.is_open = True
        self.finish: Finish | None = None
        self.numbers: list[int] = []
        self.answers: list[Answer] = []
        self.owed = 0


class PendingTable:
    """All open requests.

    Invariant: a request is counted in `count` and `size`, stands in the heap, and has its unanswered messages under
    their numbers, from `add` until `close`. The heap may hold closed ones, but not more than open ones and a few.
    """

    def __init__(self, max_count: int, max_size: int) -> None:
        self._max_count = max_count
        self._max_size = max_size
        self._heap: list[tuple[float, int, Pending]] = []
        self._owed: dict[int, tuple[Pending, Actor, Message]] = {}
        self._added = 0
        self.count = 0
        self.size = 0

    def has_room(self, size: int) -> bool:
        """Tell whether one more request of this size may wait."""
        return self.count < self._max_count and self.size + size <= self._max_size

    def add(self, pending: Pending) -> None:
        """Take a request in."""
        self._added += 1
        self.count += 1
        self.size += pending.size
        heapq.heappush(self._heap, (pending.reply_at, self._added, pending))

    def expect(self, pending: Pending, number: int, to: Actor, message: Message) -> None:
        """Note that an actor owes an answer for an open request."""
        pending.numbers.append(number)
        pending.answers.append(None)
        pending.owed += 1
        self._owed[number] = (pending, to, message)

    def answer(self, answer: Done | Failed) -> Pending | None:
        """Put an answer where it belongs and return the request, or None when nothing waits for it."""
        owed = self._owed.pop(answer.request, None)
        if owed is None:
            return None
        pending = owed[0]
        pending.answers[pending.numbers.index(answer.request)] = answer
        pending.owed -= 1
        return pending

    def owed_by(self, actor: Actor) -> list[Message]:
        """Return the messages that an actor has not answered, oldest first."""
        return [message for _, to, message in self._owed.values() if to is actor]

    def close(self, pending: Pending) -> None:
        """Forget a request that is about to be answered."""
        pending.is_open = False
        self.count -= 1
        self.size -= pending.size
        for number in pending.numbers:
            self._owed.pop(number, None)
        if len(self._heap) > 2 * self.count + _SLACK:
            self._heap = [item for item in self._heap if item[2].is_open]
            heapq.heapify(self._heap)

    def deadline(self) -> float | None:
        """Return when the first open request must be answered, or None."""
        while self._heap and not self._heap[0][2].is_open:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def hasten(self, until: float) -> None:
        """Have every open request answered at that time at the latest."""
        self._heap = [(min(reply_at, until), number, pending) for reply_at, number, pending in self._heap]
        heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[Pending]:
        """Give out every open request that must be answered now. The caller closes each."""
        while (first := self.deadline()) is not None and first <= now:
            yield heapq.heappop(self._heap)[2]
