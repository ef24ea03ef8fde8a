"""Stores of an older layout are brought up to date, with all their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import pytest

from codexdht.errors import StoreError
from codexdht.store.files import replace_file
from codexdht.store.layout import LAYOUT
from codexdht.store.lmdb_backend import open_readonly
from codexdht.store.tools import compact, store_stats, verify


def filled(store: Any) -> Path:
    """Return the data file of a stopped store with some records."""
    for key in range(200):
        store.add(key, peer=key % 7, host="127.0.0.1", settle=False)
    store.stop()
    return Path(store.path) / "data.mdb"


@pytest.mark.parametrize("layout", [1, 2])
def test_older_layout_is_migrated(make_disk_store: Any, layout: int) -> None:
    """All records are found by key, peer and expiry afterwards, and the old tables are gone."""
    store = make_disk_store()
    path = filled(store).parent
    _turn_into(layout, path)
    with pytest.raises(StoreError, match="older layout"):
        open_readonly(path)
    store.start()
    assert [store.get(key) for key in range(200)] == [[(key % 7, 1)] for key in range(200)]
    assert store.remove(3) == len(range(3, 200, 7))
    store.stop()
    assert verify(path).problems == []
    with lmdb.open(str(path), max_dbs=20) as env:
        assert OLD_TABLES.isdisjoint(env.dbs())
    store.start()
    store.wait(90_000)
    assert store.gauge("records") == 0


def test_compacting_an_older_layout_migrates_it(make_disk_store: Any) -> None:
    """What is rewritten has the layout of today, and all records."""
    store = make_disk_store()
    path = filled(store).parent
    _turn_into(1, path)
    compact(path)
    assert store_stats(path)["layout"] == LAYOUT
    assert verify(path)[:3] == (200, 7, [])


def test_interrupted_migration_is_done_again(make_disk_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version is raised last; what has its new form already is left as it is."""
    store = make_disk_store()
    path = filled(store).parent
    _turn_into(2, path)

    def interrupt(*_: object) -> None:
        raise StoreError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("codexdht.store.migrations._mark", interrupt)
        with pytest.raises(StoreError, match="interrupted"):
            store.start()
    store.backend.close()
    store.start()
    store.stop()
    assert store_stats(path)["layout"] == LAYOUT
    assert verify(path).problems == []
    store.start()


def test_migration_of_a_store_at_its_limit(make_disk_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a free page, as large as it may be, is migrated all the same, and deletes when it is over its
    limit afterwards."""
    monkeypatch.setattr("codexdht.store.lmdb_backend._MIN_RESERVE", 2**18)
    store = make_disk_store()
    store.put(list(range(10_000)), peer=0)
    store.stop()
    _turn_into(2, store.path)
    _pack(store.path)
    store.start(max_bytes=2**18, max_batch=50)
    assert store.rows() == 10_000
    store.stop()
    store.start()
    store.wait(90_000)
    assert store.gauge("records") == 0


def test_migration_on_a_full_disk(make_disk_store: Any, file_size_limit: Any) -> None:
    """It says what it wants, and goes on from there when it has it."""
    store = make_disk_store()
    path = filled(store).parent
    _turn_into(2, path)
    file_size_limit(4096)
    with pytest.raises(StoreError, match="make room on its disk"):
        store.start()
    store.backend.close()
    file_size_limit(None)
    store.start()
    assert store.rows() == 200


OLD_TABLES = {b"by_peer", b"by_expiry", b"by_peer_2", b"by_expiry_2"}


def _turn_into(layout: int, path: Path) -> None:
    """Rewrite the tables as an older layout kept them: entries without order, 1: indexes of plain rows, 2: of pairs."""
    suffix, pairs = (b"_2", True) if layout == 2 else (b"", False)
    with lmdb.open(str(path), max_dbs=20, map_size=2**26) as env, env.begin(write=True) as txn:
        entries = env.open_db(b"entries", txn=txn)
        by_peer, by_expiry = (
            env.open_db(name + suffix, txn=txn, dupsort=pairs, dupfixed=pairs)
            for name in (b"by_peer", b"by_expiry")
        )
        for row, value in list(txn.cursor(entries)):
            txn.put(row, value[:4] + value[8:], db=entries)
            for table, key in ((by_peer, row[32:] + row[:32]), (by_expiry, value[:4] + row)):
                txn.put(key[:4] if pairs else key, key[4:] if pairs else b"", db=table)
        for name in (b"by_peer_3", b"by_expiry_3"):
            txn.drop(env.open_db(name, txn=txn, create=False))
        txn.put(b"layout", layout.to_bytes(4, "big"), db=env.open_db(b"meta", txn=txn))


def _pack(path: Path) -> None:
    """Rewrite the file without free pages."""
    new = path / "new"
    with (
        lmdb.open(str(path), max_dbs=20) as old,
        lmdb.open(str(new), max_dbs=20) as env,
        old.begin() as source,
        env.begin(write=True) as target,
    ):
        for name in list(source.cursor().iternext(values=False)):
            table = old.open_db(name, txn=source, create=False)
            pairs = bool(table.flags(source)["dupsort"])
            copied = env.open_db(name, txn=target, dupsort=pairs, dupfixed=pairs)
            target.cursor(copied).putmulti(source.cursor(table))
    replace_file(new / "data.mdb", path / "data.mdb", path / "lock.mdb")
