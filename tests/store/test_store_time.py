"""Lifetimes: exact to the second, over restarts and whatever the system clock does."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from codexdht.errors import StoreError
from codexdht.messages.internal import ClockSet
from codexdht.store.clock import StoreClock
from codexdht.store.machine import StoreMachine
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.settings import StoreSettings

DAY = 86_400


def test_the_dead_make_way_as_fast_as_newcomers_arrive(make_store: Any) -> None:
    """However much is announced in one turn, as much that has expired is deleted in it."""
    store = make_store(lifetime=100)
    keys = iter(range(3000))
    for key in range(900):
        store.add(next(keys), peer=key % 9, settle=False, host="127.0.0.1")
    store.wait(1)
    store.now += 200
    for _ in range(3):
        for key in range(300):
            store.add(next(keys), peer=key % 9, settle=False, host="127.0.0.1")
        store.machine.tick(store.now)
    assert store.rows() == 900


def test_expires_to_the_second(make_store: Any) -> None:
    """Found during its lifetime of a day, not found from the second in which that ends; deleted at once, too."""
    store = make_store()
    store.add(1, peer=0)
    store.wait(DAY - 1)
    assert store.get(1) == store.local(1) == [(0, 1)]
    store.now += 1
    assert store.get(1) == store.local(1) == []
    store.settle()
    assert store.gauge("records") == store.gauge("providers") == 0
    store.wait(0.1)
    assert store.count("providers_expired") == 1


def test_cached_answer_expires(make_store: Any) -> None:
    """An answer kept in memory does not outlive the first provider in it."""
    store = make_store(answer_cache_time=60.0, lifetime=100)
    store.add(1, peer=0)
    store.wait(70)
    store.add(1, peer=1)
    store.wait(29)
    assert sorted(store.get(1)) == [(0, 1), (1, 1)]
    store.now += 1
    assert store.get(1) == [(1, 1)]


def test_lifetime_over_restarts(make_store: Any) -> None:
    """A restart neither prolongs nor shortens a life, however long the process was away."""
    store = make_store()
    store.add(1, peer=0)
    store.wait(1)
    store.stop()
    store.now += DAY - 2
    store.start()
    assert store.get(1) == [(0, 1)]
    store.stop()
    store.now += 1
    store.start()
    assert store.get(1) == []


def test_clock_set_back(make_store: Any) -> None:
    """The dead stay dead, the living live as long as they would have, and the log has a line."""
    store = make_store()
    store.add(1, peer=0)
    store.wait(DAY / 2)
    store.add(2, peer=1)
    store.now += DAY / 2
    store.step_clock(-7200)
    assert "clock_set_back" in store.events()
    assert store.get(1) == []
    store.wait(DAY / 2 - 1)
    assert store.get(2) == [(1, 1)]
    store.wait(1)
    assert store.get(2) == []


def test_clock_set_back_while_stopped(make_store: Any) -> None:
    """What had expired before the restart does not come back; new records live their full time."""
    store = make_store()
    store.add(1, peer=0)
    store.wait(DAY - 10)
    store.add(2, peer=1)
    store.wait(5)
    store.stop()
    store.offset -= 3 * DAY
    store.start()
    assert store.get(1) == [(0, 1)]
    store.wait(5)
    assert store.get(1) == []
    store.add(3, peer=2)
    store.wait(DAY - 1)
    assert store.get(3) == [(2, 1)]


def test_clock_set_ahead_says_so(make_store: Any) -> None:
    """An hour's jump takes an hour from every life, and the log has a line."""
    store = make_store()
    store.add(1, peer=0)
    store.step_clock(3600)
    assert store.events() == ["clock_set_ahead"]
    assert store.get(1) == [(0, 1)]
    store.wait(DAY - 3601)
    assert store.get(1) == [(0, 1)]
    store.wait(1)
    assert store.get(1) == []


def test_clock_set_back_and_ahead_again(make_store: Any) -> None:
    """A clock that was wrong for a while costs nobody any of its life."""
    store = make_store()
    store.add(1, peer=0)
    store.step_clock(-3600)
    store.wait(100)
    store.step_clock(3600)
    store.wait(DAY - 101)
    assert store.get(1) == [(0, 1)]
    assert store.gauge("clock_lead") == 0
    store.wait(1)
    assert store.get(1) == []


def test_lead_is_saved_when_it_shrinks(make_store: Any) -> None:
    """A correction of the clock that a restart follows is not taken for time that has passed."""
    store = make_store()
    store.step_clock(-3 * DAY)
    store.add(1, peer=0)
    store.wait(0.1)
    store.step_clock(2 * DAY)
    store.wait(0.1)
    store.crash()
    store.start()
    assert store.get(1) == [(0, 1)]
    store.wait(DAY - 2)
    assert store.get(1) == [(0, 1)]
    store.wait(2)
    assert store.get(1) == []


def test_small_steps_are_not_logged(make_store: Any) -> None:
    """A clock that is disciplined steps now and then."""
    store = make_store()
    store.step_clock(0.5)
    store.step_clock(-0.5)
    assert store.events() == []


def test_damaged_clock_is_refused() -> None:
    """A clock row of another size is no clock."""
    with pytest.raises(StoreError):
        StoreClock(b"123")


def test_store_before_the_clock_is_known() -> None:
    """Nothing is taken for dead before the first ClockSet; `boot` says Hello."""
    machine = StoreMachine(MemoryBackend(), StoreSettings(), random.Random(1))
    machine.boot(5.0)
    assert len(machine.outbox.take()) == 3
    assert machine.deadline() is None
    machine.handle(ClockSet(1e9), 5.0)
    assert machine.outbox.events == []


def test_housekeeping_goes_in_small_steps(make_store: Any) -> None:
    """No turn deletes more than a few rows, oldest first, and a request in between is served."""
    store = make_store(lifetime=100)
    for number in range(400):
        store.add(number, peer=number % 7, settle=False)
    store.settle()
    store.now += 200
    left = [store.rows()]
    while left[-1]:
        assert store.get(3) == []
        store.machine.tick(store.now)
        left.append(store.rows())
    assert max(a - b for a, b in pairwise(left)) <= 128


def test_lifetime_setting_may_change(make_store: Any) -> None:
    """Another lifetime applies to what is announced from then on."""
    store = make_store(lifetime=1000)
    store.add(1, peer=0)
    store.wait(1)
    store.stop()
    store.start(lifetime=10)
    store.add(2, peer=0)
    store.wait(10)
    assert store.get(1) == [(0, 1)]
    assert store.get(2) == []
