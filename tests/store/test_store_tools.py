"""`codexdht store …` as functions: what they say of a store, and that what goes out comes in again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import pytest

from codexdht.errors import StorageFull, StoreError
from codexdht.records import multiaddress_of_endpoint, sign_record
from codexdht.store.backend import Table
from codexdht.store.lmdb_errors import explain
from codexdht.store.settings import StoreSettings
from codexdht.store.tools import compact, export_records, import_records, store_stats, verify

HOSTS = ["1.2.3.4", "127.0.0.1", "2a00:1450::1"]


def fill(store: Any, records: int = 60, pause: int = 1) -> None:
    for key in range(records):
        store.add(key // 3, peer=key % 20, host=HOSTS[key % 3], settle=False)
        store.now += pause
    store.settle()
    store.wait(0.1)
    store.stop()


@contextmanager
def in_use(store: Any) -> Iterator[None]:
    """Have another process run this store as a node does, with a change that is not on disk yet."""
    with in_child(lambda: (store.start(), store.add(500, peer=1))):
        yield


@contextmanager
def in_child(work: Callable[[], Any]) -> Iterator[None]:
    """Have another process do something, and then wait until it is killed."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            kept = work()
            os.write(writable, b"x")
            signal.pause()
            del kept
        finally:
            os._exit(1)
    os.close(writable)
    try:
        assert os.read(readable, 1) == b"x"
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(readable)


def kept_open(store: Any) -> Any:
    """Begin to export."""
    lines = export_records(store.path)
    return next(lines), lines


def lines_of(path: Path) -> list[str]:
    return [json.dumps(fields) for fields in export_records(path)]


def test_stats_of_a_live_store(make_disk_store: Any) -> None:
    """Counts and sizes, while a node uses the store."""
    store = make_disk_store()
    fill(store)
    with in_use(store):
        stats = store_stats(store.path)
    assert (stats["records"], stats["providers"], stats["source_networks"]) == (60, 20, 2)
    assert stats["first_expiry"] == int(store.unix - 60.1) + 86_400
    assert stats["used_bytes"] <= stats["file_bytes"]


def test_verify_live_store(make_disk_store: Any) -> None:
    """A sound store has no problems, in use, after removals and restarts; progress ends at its total."""
    store = make_disk_store()
    fill(store)
    store.start()
    store.remove(3)
    store.stop()
    seen: list[tuple[int, int]] = []
    with in_use(store):
        report = verify(store.path, lambda done, total: seen.append((done, total)))
    assert report == (report.records, 19, [], 0)
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize(
    ("table", "size"),
    [
        (Table.PEERS, 32),
        (Table.RECORDS, 4),
        (Table.ENTRIES, 36),
        (Table.BY_PEER, 36),
        (Table.BY_EXPIRY, 44),
        (Table.NETWORKS, 3),
        (Table.META, 6),
    ],
)
def test_verify_finds_a_missing_row(make_disk_store: Any, table: Table, size: int) -> None:
    """Every table is held against the others."""
    store = make_disk_store()
    fill(store)
    store.start()
    rows = store.backend.range(table, b"", b"\xff" * 80, 1000)
    row = next(key for key, _ in rows if len(key) == size and key != b"clock")
    store.backend.delete(table, row)
    store.backend.commit()
    store.crash()
    assert verify(store.path).problem_count >= 1


def test_verify_finds_bad_records(make_disk_store: Any) -> None:
    """A record that was changed on disk no longer bears its signature; a foreign one is not the peer's."""
    store = make_disk_store()
    fill(store)
    store.start()
    rows = store.backend.range(Table.RECORDS, b"", b"\xff" * 9, 3)
    (first, value), (second, _), (third, other) = rows
    store.backend.put(Table.RECORDS, first, value[:-1] + bytes([value[-1] ^ 1]))
    store.backend.put(Table.RECORDS, second, other)
    store.backend.put(Table.DOOMED, third, b"")
    store.backend.commit()
    store.crash()
    problems = "\n".join(verify(store.path).problems)
    assert "bad record signature" in problems
    assert "cannot be found by its node id" in problems
    assert "both removed and present" in problems


def test_export_and_import(make_disk_store: Any) -> None:
    """Every record arrives with its expiry and source; importing again changes nothing."""
    store, target = make_disk_store(), make_disk_store()
    fill(store)
    target.stop()
    lines = lines_of(store.path)
    assert len(lines) == 60
    seen: list[int] = []
    report = import_records(target.path, lines, store.unix, lambda done, _: seen.append(done))
    assert (report.taken, report.refused, report.problems) == (60, {}, [])
    assert seen[-1] == 60
    assert import_records(target.path, lines, store.unix).taken == 60
    assert sorted(lines_of(target.path)) == sorted(lines)
    assert verify(target.path).problems == []
    target.start()


def test_export_of_a_store_whose_clock_is_ahead(make_disk_store: Any) -> None:
    """Expiry is told in Unix time."""
    store = make_disk_store(lifetime=1000)
    store.step_clock(-5000)
    store.add(1, peer=0)
    store.stop()
    [fields] = export_records(store.path)
    assert abs(fields["expires"] - (store.unix + 1000)) < 2


def test_import_of_bad_lines(make_disk_store: Any) -> None:
    """They are counted and named; the good ones are taken."""
    store, target = make_disk_store(), make_disk_store()
    fill(store, 3)
    target.stop()
    lines = lines_of(store.path)
    fields = json.loads(lines[0])
    bad = [
        "",
        "nonsense",
        "[]",
        "{}",
        json.dumps({**fields, "spr": fields["spr"][:-4] + "AAAA"}),
        json.dumps({**fields, "key": "00"}),
        json.dumps({**fields, "expires": None}),
        json.dumps({**fields, "expires": float("inf")}),
        json.dumps({**fields, "source": "zz"}),
        json.dumps({**fields, "source": "0102"}),
    ]
    report = import_records(target.path, [*bad, *lines], store.unix)
    assert (report.taken, report.refused) == (3, {"unreadable": len(bad)})
    assert report.problems[1].startswith("line 2: ")
    late = import_records(target.path, lines, store.unix + 90_000)
    assert (late.taken, late.refused) == (0, {"expired": 3})
    target.start()


def test_nothing_imported_lives_longer_than_what_is_announced(make_disk_store: Any) -> None:
    """A line that says otherwise, as an export of other settings may, is taken with the lifetime of this store."""
    store, target = make_disk_store(), make_disk_store()
    fill(store, 1)
    target.stop()
    [fields] = export_records(store.path)
    lines = [json.dumps({**fields, "expires": fields["expires"] + 10_000_000})]
    assert import_records(target.path, lines, store.unix).taken == 1
    [imported] = export_records(target.path)
    assert imported["expires"] <= store.unix + StoreSettings().lifetime
    target.start()


def test_import_obeys_limits(make_disk_store: Any) -> None:
    """A store is not filled past its settings."""
    store, target = make_disk_store(), make_disk_store()
    fill(store)
    target.stop()
    settings = StoreSettings(max_records=10)
    report = import_records(target.path, lines_of(store.path), store.unix, settings=settings)
    assert (report.taken, report.refused) == (10, {"refused_records_full": 50})
    target.start()


def test_import_takes_no_larger_records_than_the_node(make_disk_store: Any) -> None:
    """Their size is limited wherever they come from."""
    store, target = make_disk_store(), make_disk_store()
    large = sign_record(store.keys[1], 1, [multiaddress_of_endpoint(("1.2.3.4", 9000))] * 30)
    assert 256 < len(large.encoded) <= 4096
    store.add(1, peer=0)
    store.add_record(store.key(1), large.encoded, large.node_id)
    store.stop()
    target.stop()
    settings = StoreSettings(max_record_size=256)
    report = import_records(target.path, lines_of(store.path), store.unix, settings=settings)
    assert (report.taken, report.refused) == (1, {"refused_record_size": 1})
    store.start()
    target.start()


def test_store_in_use_is_not_written_to(make_disk_store: Any) -> None:
    """Import and compact want the node stopped."""
    store = make_disk_store()
    with pytest.raises(StoreError, match="in use"):
        import_records(store.path, [], store.unix)
    with pytest.raises(StoreError, match="in use"):
        compact(store.path)


@pytest.mark.parametrize("pause", [0, 1])
def test_compact(make_disk_store: Any, pause: int) -> None:
    """The file shrinks to what is used; nothing is lost, and nothing else is left in the directory. That holds for
    records that all expire in one second, too: the copy function of LMDB crashes on them."""
    store = make_disk_store(lifetime=1000)
    fill(store, 900, pause)
    store.start()
    store.remove(1)
    store.settle()
    store.wait(1)
    store.stop()
    expected = lines_of(store.path)
    steps: list[tuple[int, int]] = []
    before, after = compact(store.path, lambda done, total: steps.append((done, total)))
    assert after < before
    assert steps[-1][0] == steps[-1][1] > 3 * len(expected)
    assert steps == sorted(steps)
    assert sorted(p.name for p in store.path.iterdir()) == ["data.mdb", "owner.lock"]
    assert lines_of(store.path) == expected
    assert verify(store.path).problems == []
    store.start()
    store.add(5000, peer=1)
    assert store.get(5000) == [(1, 1)]


def test_compact_keeps_owner_and_mode(make_disk_store: Any) -> None:
    """A store that root compacts and looks at is still that of its node, also where it was copied without its locks."""
    store = make_disk_store()
    fill(store)
    store.stop()
    for name in ("owner.lock", "lock.mdb"):
        (store.path / name).unlink()
    file = store.path / "data.mdb"
    file.chmod(0o640)
    if os.geteuid() == 0:
        for path in (store.path, *store.path.iterdir()):
            os.chown(path, 65534, 65534)
    before = file.stat()
    compact(store.path)
    store_stats(store.path)
    after = file.stat()
    assert before.st_ino != after.st_ino
    assert before.st_mode == after.st_mode
    assert {(path.stat().st_uid, path.stat().st_gid) for path in store.path.iterdir()} == {
        (before.st_uid, before.st_gid)
    }
    store.start()


def test_compact_on_a_full_disk(make_disk_store: Any, file_size_limit: Any) -> None:
    """It leaves everything as it was. No file of the copy is mapped: that would be the death of the process."""
    store = make_disk_store()
    fill(store, 900)
    seen: set[str] = set()
    file_size_limit(100_000)
    with pytest.raises(StorageFull):
        compact(store.path, lambda *_: seen.update(p.name for p in (store.path / "compact").iterdir()))
    file_size_limit(None)
    assert seen == {"data.mdb", "owner.lock"}
    assert not (store.path / "compact").exists()
    assert verify(store.path)[::2] == (900, [])
    store.start()


def test_killed_reader_keeps_no_room(make_disk_store: Any) -> None:
    """An export that is killed does not make the file of a node grow for longer than a minute."""
    store = make_disk_store(max_bytes=2**20)
    store.put(list(range(200)), peer=0)
    store.stop()
    with in_child(lambda: kept_open(store)):
        store.start()
        store.put([200], peer=0)
        size = store.backend.file_bytes()
    store.wait(60)
    for seq in range(2, 100):
        store.put(list(range(200)), peer=seq % 2, seq=seq)
        store.wait(1)
    assert store.events() == []
    assert store.backend.file_bytes() < 3 * size


def test_killed_readers_do_not_add_up(make_disk_store: Any) -> None:
    """However many were killed, while another one lives, hinder neither a node nor the next reader."""
    store = make_disk_store()
    store.add(1, peer=0)
    store.stop()

    def read_and_die() -> None:
        for _ in range(130):
            if os.fork() == 0:
                try:
                    _kept = kept_open(store)
                finally:
                    os._exit(0)
            os.wait()

    with in_child(lambda: kept_open(store)), in_child(read_and_die):
        assert store_stats(store.path)["records"] == 1
        store.start()
        assert store.get(1) == [(0, 1)]


def test_too_many_readers_are_no_damage(folder: Path) -> None:
    """LMDB has room for 126 at a time: nobody is told to move the store away."""
    error = lmdb.ReadersFullError("mdb_txn_begin")
    error.code = -30790
    explained = str(explain(error, folder, read_only=True))
    assert "too many processes" in explained
    assert "move it away" not in explained


@pytest.mark.parametrize("records", [20, 21])
def test_compact_while_somebody_reads(make_disk_store: Any, records: int) -> None:
    """An export that goes on meanwhile takes nothing from the new file, whichever root is the newer one in the old."""
    store = make_disk_store()
    for key in range(records):
        store.put([key], peer=key)
    store.stop()
    with in_child(lambda: kept_open(store)):
        compact(store.path)
        store.start()
        assert store.rows() == records
        store.put([records], peer=1)
        store.stop()
    assert verify(store.path)[::2] == (records + 1, [])
    store.start()


def test_tools_need_a_store(store_dir: Path) -> None:
    """A wrong path makes nothing."""
    for tool in (store_stats, verify, compact, lambda path: list(export_records(path))):
        with pytest.raises(StoreError, match="no store"):
            tool(store_dir / "absent")
    assert not (store_dir / "absent").exists()
    assert issubclass(StorageFull, Exception)
