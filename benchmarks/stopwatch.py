"""How long a piece of work takes, apart from what others on the machine take."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.processes import stolen_seconds


class Stopwatch:
    """Times a piece of this thread's work, as if it had a core to itself, and the CPU time of all threads meanwhile.

    Left out is the time in which the thread was ready to run and had no core: other processes had it, or the host of a
    virtual machine gave it to another one (steal). Linux counts steal for the whole machine and in steps of 10 ms; what
    this thread spent computing is never left out.
    """

    def __init__(self) -> None:
        self._others, self._own, self._cpu = self._taken_by_others(), time.thread_time(), time.process_time()
        self._started = time.perf_counter()

    def stop(self) -> tuple[float, float]:
        """Return (seconds, CPU seconds)."""
        seconds = time.perf_counter() - self._started
        cpu = time.process_time() - self._cpu
        own = time.thread_time() - self._own
        return max(own, seconds - (self._taken_by_others() - self._others)), cpu

    @staticmethod
    def _taken_by_others() -> float:
        """Return how many seconds this thread waited for a core, and other machines took one, so far."""
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
        return waited + stolen_seconds()
