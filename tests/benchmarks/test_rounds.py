"""Which rounds of a measurement count."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from benchmarks import rounds
from benchmarks.rounds import Taken, least_disturbed, run_rounds


@pytest.mark.parametrize(
    ("stolen", "run"),
    [
        ([0.0, 0.0, 0.0, 0.0], 3),
        ([0.0, 0.1, 0.0, 0.02, 0.0], 4),
        ([0.3, 0.0, 0.1, 0.0, 0.01, 0.0], 5),
        ([0.3] * 9, 6),
    ],
)
def test_disturbed_rounds_are_repeated_but_not_for_ever(
    stolen: list[float], run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three quiet rounds are enough, and so are six of any kind; what the host took is kept with each."""
    shares = iter(stolen)
    monkeypatch.setattr(rounds.StealMeter, "share", lambda _: next(shares))
    numbers = itertools.count()
    taken = run_rounds(lambda: next(numbers), 3)
    assert taken == [Taken(number, share) for number, share in enumerate(stolen[:run])]


def test_the_least_disturbed_rounds_count_whatever_their_figures_are() -> None:
    """The choice is by what the host took alone; of equals, the first are taken."""
    taken = [Taken(number, share) for number, share in enumerate([0.2, 0.1, 0.0, 0.1, 0.1])]
    assert [round.value for round in least_disturbed(taken, 3)] == [2, 1, 3]


def test_what_the_host_took_is_a_share_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second of two cores for two seconds is an eighth."""
    stolen, clock = iter([7.0, 7.5]), iter([100.0, 102.0])
    monkeypatch.setattr(rounds, "stolen_seconds", lambda: next(stolen))
    monkeypatch.setattr(rounds, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(rounds, "os", SimpleNamespace(cpu_count=lambda: 2))
    assert rounds.StealMeter().share() == 0.125
