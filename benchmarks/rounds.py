"""Rounds of a measurement on a machine that others use, too: how many are run, and which of them count."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

from benchmarks.processes import stolen_seconds

QUIET: Final = 0.02
"""A round in which the host of a virtual machine gave more than this share of the cores to others is disturbed: where
it gives 5 %, a PING costs an eighth more than where it gives 1 %."""

T = TypeVar("T")


class Taken(NamedTuple, Generic[T]):
    """A round: what came of it, and the share of the cores that the host gave to others meanwhile, 0 to 1."""

    value: T
    stolen: float


class StealMeter:
    """The share of all cores that the host of a virtual machine has given to others since this was made."""

    def __init__(self) -> None:
        self._stolen, self._started = stolen_seconds(), time.monotonic()

    def share(self) -> float:
        """Return it, 0 to 1."""
        return (stolen_seconds() - self._stolen) / (time.monotonic() - self._started) / (os.cpu_count() or 1)


def run_rounds(run: Callable[[], T], wanted: int) -> list[Taken[T]]:
    """Run rounds until so many were undisturbed, and at most twice as many; return all of them."""
    taken: list[Taken[T]] = []
    while not enough([round.stolen for round in taken], wanted):
        steal = StealMeter()
        taken.append(Taken(run(), steal.share()))
    return taken


def enough(stolen: list[float], wanted: int) -> bool:
    """Tell whether so many undisturbed rounds were run, or twice as many altogether."""
    return sum(share <= QUIET for share in stolen) >= wanted or len(stolen) >= 2 * wanted


def least_disturbed(taken: list[Taken[T]], count: int) -> list[Taken[T]]:
    """Return so many rounds in which the host took least, whatever their figures are; of equals the first."""
    return sorted(taken, key=lambda round: round.stolen)[:count]


def left_out(run: int, stolen: list[float]) -> str:
    """Return a text on the rounds that do not count, of so many that were run; `stolen` is of those that do."""
    if run == len(stolen):
        return "none was left out"
    return (
        f"{run - len(stolen)} of {run} were left out; of those that count it took at most {max(stolen):.1%}"
    )
