"""The one list of what is due when."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[float], None]


class Timer:
    """An action to come; None when it has run, or was cancelled."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action


class Timers:
    """Actions by time; those of one moment run in the order in which they were set.

    An action that holds much, or waits long, is cancelled when its reason is gone; any other finds that out by itself.
    Cancelled ones stay in the heap, empty, while they are its lesser half; `_cancelled` is how many there are at most.
    """

    __slots__ = ("_cancelled", "_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, action: Action) -> Timer:
        """Run action(now) at a time."""
        timer = Timer(action)
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Let go of an action, unless it has run."""
        if timer.action is None:
            return
        timer.action = None
        self._cancelled += 1
        if self._cancelled * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2].action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def run(self, now: float) -> None:
        """Run what is due. What an action sets for now or earlier waits for the next run: time may have to pass before
        it can do anything, and rounding may have lost how much."""
        heap = self._heap
        if not heap or heap[0][0] > now:  # mostly: this is called after every batch of messages
            return
        due: list[Timer] = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        for timer in due:
            action, timer.action = timer.action, None
            if action is not None:
                action(now)

    def next(self) -> float | None:
        """Return when something is due next."""
        return self._heap[0][0] if self._heap else None
