"""The disk's thread: work is done in order, and the reactor is woken."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq

from codexdht.actors.disk import DiskThread


@pytest.fixture
def disk() -> Iterator[DiskThread]:
    made = DiskThread()
    yield made
    made.close()


def test_work_is_done_in_order_by_one_other_thread(disk: DiskThread) -> None:
    """LMDB wants a transaction ended by the thread that began it."""
    done: list[tuple[int, int]] = []
    futures = [disk.submit(lambda n=n: done.append((n, threading.get_ident()))) for n in range(20)]
    for future in futures:
        future.result(10)
    assert [number for number, _ in done] == list(range(20))
    assert len({thread for _, thread in done} | {threading.get_ident()}) == 2


def test_poller_is_woken_when_something_is_done(disk: DiskThread) -> None:
    """However much is done before the reactor looks, one drain is enough or it is woken again."""
    poller = zmq.Poller()
    disk.attach(poller)
    assert poller.poll(0) == []
    for future in [disk.submit(int) for _ in range(5000)]:
        future.result(10)
    woken = 0
    while poller.poll(100 if woken == 0 else 0):
        woken += 1
        disk.drain(0.0)
    assert woken >= 1


def test_errors_go_to_whoever_asks_for_the_result(disk: DiskThread) -> None:
    """The thread survives them."""
    with pytest.raises(ValueError, match="invalid literal"):
        disk.submit(lambda: int("x")).result(10)
    assert disk.submit(lambda: int("1")).result(10) == 1
