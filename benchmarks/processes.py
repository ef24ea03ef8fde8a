"""CPU time and memory of processes, read from /proc."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_NS = 1e-9
_KIB = 1024


class Memory(NamedTuple):
    """Bytes: resident, and proportional (shared pages divided among those that share them)."""

    rss: int
    pss: int


def cpu_seconds(pid: int) -> float:
    """Return user and system time of a process, all its threads, in seconds.

    From schedstat, which counts nanoseconds; `stat` counts ticks of 10 ms. Raises FileNotFoundError when it is gone.
    """
    return sum(map(_thread_nanoseconds, Path(f"/proc/{pid}/task").iterdir())) * _NS


def _thread_nanoseconds(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):  # it has ended since the threads were listed
        return 0


def stolen_seconds() -> float:
    """Return the time, over all cores, in which the host of a virtual machine ran something else, so far (steal)."""
    with Path("/proc/stat").open() as stat:
        return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """Return the memory of a process."""
    found = {"Rss": 0, "Pss": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) * _KIB
    return Memory(found["Rss"], found["Pss"])


def node_processes(supervisor: int) -> dict[str, int]:
    """Return the process ids of a node by name: supervisord, and the actors below it by theirs."""
    pids = {"supervisord": supervisor}
    for child in _children(supervisor):
        arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"codexdht.actors" in arguments:
            actor, number = arguments[arguments.index(b"codexdht.actors") + 1 :][:2]
            pids[(actor + (b"-" + number if number not in (b"", b"0") else b"")).decode()] = child
    return pids


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class CpuMeter:
    """CPU time of several processes since it was made."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._start = self._read(pids)

    def _read(self, names: Iterable[str]) -> dict[str, float]:
        return {name: cpu_seconds(self._pids[name]) for name in names}

    def seconds(self) -> dict[str, float]:
        """Return the seconds spent since, by name. A thread that has ended, as the watchdog's does once a second, has
        taken its few microseconds with it."""
        return {name: max(0.0, now - self._start[name]) for name, now in self._read(self._pids).items()}


def machine() -> str:
    """Return a line on what this runs on."""
    models = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}"
