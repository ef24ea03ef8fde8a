"""Simulated time: a heap of what happens when."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class EventLoop:
    """Runs callbacks in the order of their times, and those of one time in the order in which they were asked for.

    `now` is in seconds since the simulation began and never goes back. `done` counts callbacks run.
    """

    __slots__ = ("_heap", "_number", "done", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, time: float, callback: Callable[..., None], *args: Any) -> None:
        """Call back at a time, or next if that is over."""
        self._number += 1
        heappush(self._heap, (time if time > self.now else self.now, self._number, callback, args))

    def after(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        """Call back when `delay` seconds have passed."""
        self._number += 1
        heappush(self._heap, (self.now + delay, self._number, callback, args))

    def run_until(self, time: float) -> None:
        """Run everything up to and including a time, and set the clock to it."""
        heap = self._heap
        while heap and heap[0][0] <= time:
            self.now, _, callback, args = heappop(heap)
            self.done += 1
            callback(*args)
        self.now = max(self.now, time)

    def run_for(self, seconds: float) -> None:
        """Run everything of the next `seconds`."""
        self.run_until(self.now + seconds)
