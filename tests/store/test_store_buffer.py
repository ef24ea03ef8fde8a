"""While the disk is busy: reads see everything, answers wait, nothing else does; and what a crash then leaves."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexdht.messages.internal import Actor, Done, Failed, PutProvider
from codexdht.store.backend import NoRoom, Table
from codexdht.store.buffer import WriteBuffer
from codexdht.store.lmdb_backend import LmdbBackend
from codexdht.store.machine import StoreMachine

END = b"\xff" * 80


class Pending(Future[Any]):
    """What the disk is at; whoever waits for it has it finished."""

    def __init__(self, disk: SlowDisk) -> None:
        super().__init__()
        self._disk = disk

    def result(self, timeout: float | None = None) -> Any:
        self._disk.finish()
        return super().result(timeout)


class SlowDisk:
    """Finishes a commit only when told to, or waited for. Transactions begin and are given up at once."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Future[Any]]] = []
        self.is_slow = True

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        future = Pending(self)
        self.waiting.append((work, future))
        if not self.is_slow or getattr(work, "__name__", "") != "commit":
            self.finish()
        return future

    def finish(self) -> None:
        for work, future in self.waiting:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - as an executor does
                future.set_exception(error)
        self.waiting.clear()

    def fail(self) -> None:
        """Have the disk refuse the commit, as LMDB does it: the transaction is over, too."""
        work, future = self.waiting.pop()
        work.__self__.abort()  # type: ignore[attr-defined]
        future.set_exception(lmdb.MapFullError("no room"))


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def store(make_disk_store: Any, disk: SlowDisk) -> Iterator[Any]:
    """A store on a slow disk."""
    made = make_disk_store(lifetime=100, max_batch=150, max_unsaved=400, answer_cache_time=0.0)
    made.stop()
    use(made, disk)
    yield made
    disk.is_slow = False
    disk.finish()


def use(store: Any, disk: SlowDisk) -> None:
    disk.is_slow = False
    store.backend = WriteBuffer(LmdbBackend(Path(store.path), 2**24, submit=disk.submit))
    store.machine = StoreMachine(store.backend, store.settings, random.Random(1))
    store.step_clock(0)
    disk.is_slow = True


def put(store: Any, keys: list[int], peer: int) -> list[Any]:
    """Begin a local write; return what is answered at once."""
    message = PutProvider(Actor.API, 5, 0, [store.key(k) for k in keys], store.record(peer).encoded)
    store.machine.handle(message, store.now)
    store.machine.tick(store.now)
    answers: list[Any] = store.sent(Actor.API)
    return answers


def test_reads_and_writes_go_on_during_a_commit(store: Any, disk: SlowDisk) -> None:
    """Both what is being committed and what came after it is visible at once."""
    store.add(1, peer=0)
    store.wait(0.1)
    assert len(disk.waiting) == 1
    store.add(1, peer=1)
    store.add(2, peer=0)
    assert sorted(store.get(1)) == [(0, 1), (1, 1)]
    assert store.get(2) == [(0, 1)]
    assert store.gauge("records") == 3
    assert store.gauge("providers") == 2
    assert store.count("commits") == 0
    disk.finish()
    store.wait(0.1)
    assert store.count("commits") == 1
    assert sorted(store.get(1)) == [(0, 1), (1, 1)]


def test_what_changes_again_during_a_commit_is_not_lost_with_it(store_dir: Path, disk: SlowDisk) -> None:
    """When the commit is complete, rows that are newer than it are still read as they are, and go with the next one."""
    disk.is_slow = False
    buffer = WriteBuffer(LmdbBackend(store_dir, 2**24, submit=disk.submit))
    for key in (b"changed", b"deleted", b"same"):
        buffer.put(Table.META, key, b"old")
    disk.is_slow = True
    buffer.start_commit()
    while not buffer.is_waiting:
        buffer.advance()
    buffer.put(Table.META, b"changed", b"new")
    buffer.delete(Table.META, b"deleted")
    disk.finish()
    assert buffer.advance()
    rows = [(b"changed", b"new"), (b"same", b"old")]
    assert buffer.range(Table.META, b"", END, 9) == rows
    assert buffer.get(Table.META, b"changed") == b"new"
    assert buffer.get(Table.META, b"deleted") is None
    assert buffer.count(Table.META) == 2
    disk.is_slow = False
    buffer.commit()
    buffer.close()
    again = LmdbBackend(store_dir, 2**24)
    assert again.range(Table.META, b"", END, 9) == rows
    again.close()


def test_answer_waits_for_its_own_commit(store: Any, disk: SlowDisk) -> None:
    """A write that came during a commit is not answered when that one is complete, but when the next one is."""
    assert put(store, [1], peer=0) == []
    assert put(store, [2], peer=0) == []
    disk.finish()
    store.machine.tick(store.now)
    assert len(store.sent(Actor.API)) == 1
    store.machine.tick(store.now)
    disk.finish()
    store.machine.tick(store.now)
    assert isinstance(store.sent(Actor.API)[0], Done)


def test_nothing_is_due_while_the_disk_is_busy(store: Any, disk: SlowDisk) -> None:
    """The reactor is woken when the disk is done; it need not ask again and again."""
    store.wait(0.1)
    store.add(1, peer=0)
    store.wait(0.1)
    deadline = store.machine.deadline()
    assert deadline is None or deadline > store.now + 1
    disk.finish()


def test_housekeeping_waits_for_the_disk(store: Any, disk: SlowDisk) -> None:
    """What can wait makes no more changes than one commit holds; when the disk is done it goes on."""
    disk.is_slow = False
    for key in range(500):
        store.add(key, peer=key % 9, settle=False, host="127.0.0.1")
        store.machine.tick(store.now)
    store.wait(1)
    disk.is_slow = True
    store.now += 200
    for _ in range(50):
        store.machine.tick(store.now)
    assert store.rows() > 100
    assert store.get(1) == []
    disk.is_slow = False
    disk.finish()
    store.settle()
    assert store.rows() == 0


def test_too_many_unsaved_changes_wait_for_the_disk(store: Any, disk: SlowDisk) -> None:
    """Memory holds so many changes and no more: then a turn waits until the disk is done."""
    store.add(0, peer=0)
    store.wait(0.1)
    for key in range(399):
        store.add(key, peer=1, settle=False, host="127.0.0.1")
        store.machine.tick(store.now)
    assert store.count("commits") == 0
    store.add(399, peer=1, settle=False)
    store.machine.tick(store.now)
    assert store.count("commits") == 1


def test_no_room_loses_what_is_not_on_disk(store: Any, disk: SlowDisk) -> None:
    """A commit that fails takes the changes after it along: all who wait are told, and reads show what is on disk."""
    disk.is_slow = False
    store.add(1, peer=0)
    store.wait(0.1)
    store.backend.close()
    use(store, disk)
    assert put(store, [1], peer=1) == []
    assert put(store, [2], peer=1) == []
    disk.fail()
    store.machine.tick(store.now)
    answers = store.sent(Actor.API)
    assert [answer.code for answer in answers if isinstance(answer, Failed)] == ["storage_full"] * 2
    assert store.get(1) == [(0, 1)]
    assert store.get(2) == []


class OutOfUse:
    """What LMDB makes of an environment when the root page of a commit could not be written."""

    def __init__(self, env: Any) -> None:
        self.close = env.close

    def begin(self, **_: Any) -> None:
        raise lmdb.PanicError("MDB_PANIC")


def test_reads_go_on_before_anybody_was_told_that_the_root_had_no_room(store: Any, disk: SlowDisk) -> None:
    """That is no damage: peers are answered, and then whoever waits for the commit is told."""
    disk.is_slow = False
    store.add(1, peer=0)
    store.wait(0.1)
    disk.is_slow = True
    assert put(store, [2], peer=1) == []
    disk.fail()
    store.backend._disk._env = OutOfUse(store.backend._disk._env)
    assert store.get(1) == [(0, 1)]
    assert store.get(2) == [(1, 1)]
    store.machine.tick(store.now)
    assert [answer.code for answer in store.sent(Actor.API)] == ["storage_full"]
    assert store.get(2) == []


changes = st.one_of(
    st.tuples(st.sampled_from(["put", "delete"]), st.integers(0, 12)),
    st.tuples(st.sampled_from(["start", "advance", "finish", "commit", "fail"]), st.just(0)),
)


class Commits:
    """A buffer on a slow disk, and what must be in it: `rows` now, `leaving` in the commit under way, `durable` in the
    last complete one."""

    def __init__(self, path: Path) -> None:
        self.disk = SlowDisk()
        self.backend = WriteBuffer(LmdbBackend(path, 2**22, submit=self.disk.submit))
        self.rows: dict[bytes, bytes] = {}
        self.leaving: dict[bytes, bytes] | None = None
        self.durable: dict[bytes, bytes] = {}

    def put(self, key: bytes, value: bytes) -> None:
        self.rows[key] = value
        self.backend.put(Table.ENTRIES, key, value)

    def delete(self, key: bytes, _value: bytes) -> None:
        self.rows.pop(key, None)
        self.backend.delete(Table.ENTRIES, key)

    def start(self, *_: bytes) -> None:
        if self.leaving is None:
            self.backend.start_commit()
            self.leaving = dict(self.rows)

    def commit(self, *_: bytes) -> None:
        self.disk.finish()
        self.disk.is_slow = False
        self.backend.commit()
        self.disk.is_slow = True
        self.leaving, self.durable = None, dict(self.rows)

    def fail(self, *_: bytes) -> None:
        if self.disk.waiting:
            self.disk.fail()
            with pytest.raises(NoRoom):
                self.backend.advance()
            self.backend.rollback()
            self.leaving, self.rows = None, dict(self.durable)

    def advance(self, *_: bytes) -> None:
        if self.backend.advance() and self.leaving is not None:
            self.leaving, self.durable = None, self.leaving

    def finish(self, *_: bytes) -> None:
        self.disk.finish()
        self.advance()

    def check(self) -> None:
        """Every kind of read sees all changes."""
        rows, read = sorted(self.rows.items()), self.backend.range
        assert read(Table.ENTRIES, b"", END, 100) == rows
        assert read(Table.ENTRIES, b"\3", b"\x0a", 3) == [r for r in rows if b"\3" <= r[0] < b"\x0a"][:3]
        assert self.backend.count(Table.ENTRIES) == len(rows)
        assert self.backend.get(Table.ENTRIES, b"\5") == self.rows.get(b"\5")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(script=st.lists(changes, max_size=40))
def test_disk_holds_some_commit_whole(store_dir: Path, script: list[tuple[str, int]]) -> None:
    """However changes and the steps of commits follow each other, reads see all changes, and after a crash those of the
    last complete commit."""
    path = Path(tempfile.mkdtemp(dir=store_dir))
    commits = Commits(path)
    for count, (what, number) in enumerate(script):
        getattr(commits, what)(bytes([number]), count.to_bytes(2, "big"))
        commits.check()
    allowed = [commits.durable] + ([commits.leaving] if commits.leaving is not None else [])
    commits.disk.finish()
    commits.backend.close()
    again = LmdbBackend(path, 2**22)
    assert dict(again.range(Table.ENTRIES, b"", END, 100)) in allowed
    again.close()
