"""The store's tables in an LMDB environment; `pages` and `lmdb_errors` alone import lmdb, too.

Durability. LMDB never overwrites a page that the last commit refers to. A commit writes the new pages, syncs them,
and then writes a new root with a synchronous write. With its default flags, used here, a killed process or machine
therefore finds exactly the last finished commit. A write transaction stays open from the first change after a
commit until the next commit, and reads go through it, so that what is not on disk yet is visible already; without
one, reads share a read transaction until `release`.

Threads. LMDB wants a write transaction ended by the thread that began it; rows may be written by another. So both are
done by `submit`, which for a node is a thread of its own: it waits for the disk, and leaves the interpreter to others.

Damage. A page that the disk has garbled can bring LMDB down, and with it the process. A truncated file is
noticed before it is read; everything else is looked for by `check` after the third crash in a row, because the walk
through a file takes 20 ms a megabyte and more.

Room. The map is larger than what the store may use (`max_bytes`) by a reserve, because deleting needs new pages, too. A
snapshot held for long by another process (a backup) can use that reserve up; then, as on a full disk, NoRoom is
raised. The snapshot of a process that was killed is held until another one looks for such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn

import lmdb

from codexdht.errors import StoreError
from codexdht.store.backend import ADVICE, PAIRS, PREFIX, NoRoom, Row, Table, cannot_start
from codexdht.store.files import Owner, reserve
from codexdht.store.lmdb_errors import explain
from codexdht.store.pages import DATA_FILE, LOCK_FILE, LOCK_SIZE, check_structure, count_pages, name_of
from codexdht.store.settings import StoreSettings

_CRASHES: Final = 3
_MIN_RESERVE: Final = 8 * 1024 * 1024
_OLD_TABLES: Final = (b"by_peer", b"by_expiry", b"by_peer_2", b"by_expiry_2")

Submit = Callable[[Callable[[], Any]], "Future[Any]"]
"""Has another thread, always the same one, do something."""
Check = Callable[[Path], list[str]]
"""Returns what is wrong with the store in a directory."""


def do_here(work: Callable[[], Any]) -> Future[Any]:
    """Do something at once in this thread."""
    future: Future[Any] = Future()
    try:
        future.set_result(work())
    except lmdb.Error as error:
        future.set_exception(error)
    return future


class LmdbBackend:
    """See `Backend`. At most one of `_writer` and `_reader`, the open transactions, is not None; `_committing` is the
    one before, being finished."""

    def __init__(
        self,
        path: Path,
        map_size: int,
        *,
        read_only: bool = False,
        lock: bool = True,
        submit: Submit = do_here,
        check: Check | None = None,
    ) -> None:
        """Open the environment in a directory, which is made if it is missing (unless read_only). lock: others may read
        it meanwhile; that takes a file of its own, which is mapped.

        Raises StoreError when it is damaged, in use by another process (unless read_only), or not accessible.
        """
        self.path = path
        self.map_size = map_size
        self._read_only = read_only
        self._lock = lock
        self._submit = submit
        self._check = check or check_structure
        self._paired = [table in PAIRS for table in Table]
        self._owner = None if read_only else Owner(path)
        self._writer: lmdb.Transaction[bytes] | None = None
        self._reader: lmdb.Transaction[bytes] | None = None
        self._committing: Future[None] | None = None
        self._start()

    def _start(self) -> None:
        try:
            if self._owner is not None:
                self._check_after_crashes(self._owner)
            self._open()
        except (StoreError, NoRoom) as error:
            self._disown()
            raise (cannot_start(error) if isinstance(error, NoRoom) else error) from None

    def _open(self) -> None:
        if self._lock:
            reserve(self.path / LOCK_FILE, LOCK_SIZE)
        try:
            self._env = lmdb.open(
                str(self.path),
                map_size=self.map_size,
                max_dbs=len(Table) + len(_OLD_TABLES),
                max_spare_txns=1,
                readahead=False,
                readonly=self._read_only,
                lock=self._lock,
                create=not self._read_only,
                mode=0o600,
            )
            self._env.reader_check()
            self._check_size()
            self._dbs = [self._open_table(table) for table in Table]
        except lmdb.Error as error:
            self._give_up(error)

    def _check_after_crashes(self, owner: Owner) -> None:
        """Walk through the file when several owners in a row have crashed: a damaged page may be why."""
        if owner.unclean_ends >= _CRASHES and (self.path / DATA_FILE).is_file():
            problems = self._check(self.path)
            if problems:
                raise StoreError(f"{self.path / DATA_FILE} is damaged: {problems[0]}; {ADVICE}")
            owner.forgive()
        owner.begin()

    def _open_table(self, table: Table) -> lmdb._Database:
        name = name_of(table).encode()
        pairs = table in PAIRS
        return self._env.open_db(name, create=not self._read_only, dupsort=pairs, dupfixed=pairs)

    def _check_size(self) -> None:
        """Refuse a truncated file: reading pages that are not there would kill the process (SIGBUS)."""
        expected = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        size = self.file_bytes()
        if 0 < size < expected:
            raise StoreError(
                f"{self.path / DATA_FILE} is damaged: it has {size} bytes of {expected}; {ADVICE}"
            )

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Backend`."""
        try:
            txn = self._writer or self._reader or self._read()
            if self._paired[table]:
                found = txn.cursor(self._dbs[table]).set_key_dup(key[:PREFIX], key[PREFIX:])
                return b"" if found else None
            value: bytes | None = txn.get(key, None, self._dbs[table])
        except lmdb.Error as error:
            self._give_up(error)
        return value

    def range(self, table: Table, start: bytes, end: bytes, limit: int) -> list[Row]:
        """See `Backend`."""
        rows: list[Row] = []
        try:
            cursor = (self._writer or self._reader or self._read()).cursor(self._dbs[table])
            if self._paired[table]:
                return list(islice(_pairs(cursor, start, end, PAIRS[table]), limit))
            if cursor.set_range(start):
                for row in cursor:
                    if row[0] >= end or len(rows) == limit:
                        break
                    rows.append(row)
        except lmdb.Error as error:
            self._give_up(error)
        return rows

    def count(self, table: Table) -> int:
        """See `Backend`."""
        try:
            entries: int = (self._writer or self._reader or self._read()).stat(self._dbs[table])["entries"]
        except lmdb.Error as error:
            self._give_up(error)
        return entries

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """See `Backend`."""
        try:
            txn, db = self._writer or self._write(), self._dbs[table]
            if not self._paired[table]:
                txn.put(key, value, True, True, False, db)
            elif not txn.put(key[:PREFIX], key[PREFIX:], True, True, True, db):  # not the last one
                txn.put(key[:PREFIX], key[PREFIX:], True, True, False, db)
        except lmdb.Error as error:
            self._give_up(error)

    def delete(self, table: Table, key: bytes) -> None:
        """See `Backend`."""
        try:
            txn = self._writer or self._write()
            value = b""
            if self._paired[table]:
                key, value = key[:PREFIX], key[PREFIX:]
            txn.delete(key, value, self._dbs[table])
        except lmdb.Error as error:
            self._give_up(error)

    def commit(self) -> None:
        """See `Backend`."""
        self.start_commit()
        self.advance(wait=True)

    def start_commit(self) -> None:
        """See `Backend`."""
        txn, self._writer = self._writer, None
        if txn is not None:
            self._committing = self._submit(txn.commit)

    def advance(self, *, wait: bool = False) -> bool:
        """See `Backend`."""
        future = self._committing
        if future is None:
            return True
        if not wait and not future.done():
            return False
        self._committing = None
        try:
            future.result()
        except lmdb.Error as error:
            self._give_up(error)
        return True

    @property
    def is_waiting(self) -> bool:
        """See `Backend`."""
        return self._committing is not None

    def rollback(self) -> None:
        """See `Backend`."""
        self._end_writing()
        self.release()
        self.forget_dead_readers()
        self.count(Table.META)  # opens anew what is out of use, as every read does
        self.release()

    def release(self) -> None:
        """See `Backend`."""
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    def forget_dead_readers(self) -> None:
        """See `Backend`."""
        try:
            self._env.reader_check()
        except lmdb.Error as error:
            self._give_up(error)

    def widen(self) -> None:
        """See `Backend`."""
        self.release()
        self.map_size = self.map_bytes() + 2 * self.file_bytes()
        try:
            self._env.set_mapsize(self.map_size)
        except lmdb.Error as error:
            self._give_up(error)

    def drop_old_tables(self) -> None:
        """See `Backend`."""
        try:
            with self._env.begin(write=True) as txn:
                for name in _OLD_TABLES:
                    txn.drop(self._env.open_db(name, txn=txn, create=True))
        except lmdb.Error as error:
            self._give_up(error)

    def used_bytes(self) -> int:
        """See `Backend`."""
        try:
            txn = self._writer or self._reader or self._read()
            stats = [txn.stat(db) for db in self._dbs]
        except lmdb.Error as error:
            self._give_up(error)
        size = int(stats[0]["psize"])
        return size * sum(count_pages(table, stat, size) for table, stat in zip(Table, stats, strict=True))

    def file_bytes(self) -> int:
        """See `Backend`."""
        return (self.path / DATA_FILE).stat().st_size

    def append(self, table: Table, rows: Iterable[Row]) -> None:
        """Write rows, in order, behind all that the table has: their pages are filled, not split in halves."""
        try:
            cursor = (self._writer or self._write()).cursor(self._dbs[table])
            if self._paired[table]:
                rows = ((key[:PREFIX], key[PREFIX:]) for key, _ in rows)
            cursor.putmulti(rows, append=True)
        except lmdb.Error as error:
            self._give_up(error)

    def map_bytes(self) -> int:
        """Return the size of the map."""
        return int(self._env.info()["map_size"])

    def close_files(self) -> None:
        """Close the environment and stay its owner, so that its files can be replaced."""
        self.release()
        self._end_writing()
        self._env.close()

    def _end_writing(self) -> None:
        """Give up the changes since the last commit. One that is under way cannot be stopped, only waited for; it may
        have failed, which changes nothing here."""
        if self._committing is not None:
            self._committing.exception()
            self._committing = None
        if self._writer is not None:
            self._submit(self._writer.abort).result()
            self._writer = None

    def close(self) -> None:
        """See `Backend`."""
        self.close_files()
        self._disown()

    def _disown(self) -> None:
        if self._owner is not None:
            self._owner.release()
            self._owner = None

    def _read(self) -> lmdb.Transaction[bytes]:
        """Begin to read. A commit that could not write its root, whether `advance` has told of it or not, has put the
        environment out of use: it is opened anew."""
        try:
            self._reader = self._env.begin()
        except lmdb.PanicError:
            if self._committing is not None:
                self._committing.exception()
            self._env.close()
            self._open()
            self._reader = self._env.begin()
        return self._reader

    def _write(self) -> lmdb.Transaction[bytes]:
        self.release()
        writer: lmdb.Transaction[bytes] = self._submit(partial(self._env.begin, write=True)).result()
        self._writer = writer
        return writer

    def _give_up(self, error: lmdb.Error) -> NoReturn:
        raise explain(error, self.path, read_only=self._read_only) from None


def _pairs(cursor: lmdb.Cursor[bytes], start: bytes, end: bytes, size: int) -> Iterator[Row]:
    """Return the rows of a table in `PAIRS`, where LMDB keeps the rest of a key as one of its prefix's values."""
    prefix, rest = start[:PREFIX], start[PREFIX:]
    found = cursor.set_range(prefix)
    if found and rest and cursor.key() == prefix:
        found = cursor.set_range_dup(prefix, rest[:size].ljust(size, b"\0"))
        if not found:
            found = cursor.set_range(prefix) and cursor.next_nodup()
    if not found:
        return
    for first, second in cursor:
        key = first + second
        if key >= end:
            return
        if key >= start:
            yield key, b""


def open_lmdb(
    path: Path | str, settings: StoreSettings, submit: Submit = do_here, check: Check | None = None
) -> LmdbBackend:
    """Open the tables for writing, with room for settings.max_bytes and a reserve. Raises StoreError.

    A file that is larger already, because the limit was lowered since, gets the reserve, too.
    """
    room = max(settings.max_bytes, _size_of(Path(path) / DATA_FILE))
    return LmdbBackend(Path(path), room + max(_MIN_RESERVE, room // 16), submit=submit, check=check)


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def open_readonly(path: Path | str) -> LmdbBackend:
    """Open the tables for reading, also while a node uses them. Raises StoreError."""
    return LmdbBackend(existing(path), 0, read_only=True)


def open_existing(path: Path | str) -> LmdbBackend:
    """Open the tables of a store that exists for writing, with the room they have. Raises StoreError."""
    return LmdbBackend(existing(path), 0)


def existing(path: Path | str) -> Path:
    """Return the directory of a store. Raises StoreError when there is none in it."""
    directory = Path(path)
    if not (directory / DATA_FILE).is_file():
        raise StoreError(f"there is no store in {directory}")
    return directory
