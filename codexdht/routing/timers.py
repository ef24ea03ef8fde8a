"""The one list of what is due when."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[float], None]


class Timers:
    """Actions by time; those of one moment run in the order in which they were set. Nothing is ever cancelled:
    an action whose reason is gone finds that out and does nothing."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, action: Action) -> None:
        """Run action(now) at a time."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action))

    def run(self, now: float) -> None:
        """Run what is due. What an action sets for now or earlier waits for the next run: time may have to pass before
        it can do anything, and rounding may have lost how much."""
        heap = self._heap
        if not heap or heap[0][0] > now:  # mostly: this is called after every batch of messages
            return
        due: list[Action] = []
        while heap and heap[0][0] <= now:
            due.append(heapq.heappop(heap)[2])
        for action in due:
            action(now)

    def next(self) -> float | None:
        """Return when something is due next."""
        return self._heap[0][0] if self._heap else None
