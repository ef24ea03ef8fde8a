"""Changes kept in memory until they are on disk, so that nobody waits for the disk.

A commit syncs twice, and a sync takes 4 to 60 ms and more on a disk that others use, too. So changes are first kept in
memory, where every read finds them. A commit writes them into a transaction in small steps, in key order, and has
another thread finish it; what is changed meanwhile is kept for the next one. The rows of a commit leave memory when
it is complete. Until then reads of the disk see the commit before it, whole, so nothing is lost or half-seen if it
fails.

Other ways were left out for these reasons. Small commits do not help: the two syncs of ten pages take 8 ms. Without
syncs (MDB_NOSYNC) LMDB's root may reach the disk before the pages it refers to, and a power failure leaves a store that
does not open; with MDB_NOMETASYNC a commit still waits for its pages. Commits that are begun, filled and ended by the
other thread fight with this one for the interpreter at every row.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice
from typing import Final

from codexdht.store.backend import Backend, Row, Table

_STEP: Final = 250
"""Rows written into the transaction in one step at least: about 1 ms."""
_STEPS: Final = 8
"""Steps of a commit at most: with more of them, a store that is written to without a pause would fall behind."""


class _Rows:
    """The rows of one table that are not on disk yet: None stands for a deleted one. `keys` holds those of `values` in
    order."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: dict[bytes, bytes | None] = {}

    def change(self, key: bytes, value: bytes | None) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def forget(self, keys: set[bytes]) -> None:
        for key in keys:
            del self.values[key]
        self.keys = [key for key in self.keys if key not in keys]


class WriteBuffer:
    """See the module and `Backend`; `disk` is the backend below.

    `_rows` holds what no complete commit holds, and `_changed` what was changed since the commit under way was started:
    what that leaves of `_rows` is on its way (`_leaving`), the rows in `_todo` still to be written, `_step` at a time.
    """

    def __init__(self, disk: Backend) -> None:
        self._disk = disk
        self._rows = [_Rows() for _ in Table]
        self._changed: list[dict[bytes, bytes | None]] = [{} for _ in Table]
        self._leaving: list[dict[bytes, bytes | None]] | None = None
        self._todo: Iterator[tuple[Table, bytes, bytes | None]] | None = None
        self._step = _STEP

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Backend`."""
        values = self._rows[table].values
        return values[key] if key in values else self._disk.get(table, key)

    def range(self, table: Table, start: bytes, end: bytes, limit: int) -> list[Row]:
        """See `Backend`. Every row in memory may hide one on disk, so that many more are read there."""
        rows = self._rows[table]
        first = bisect_left(rows.keys, start)
        mine = rows.keys[first : bisect_left(rows.keys, end, first)]
        found = self._disk.range(table, start, end, limit + len(mine))
        if not mine:
            return found
        merged: dict[bytes, bytes | None] = dict(found)
        merged.update((key, rows.values[key]) for key in mine)
        ordered = ((key, value) for key, value in sorted(merged.items()) if value is not None)
        return list(islice(ordered, limit))

    def count(self, table: Table) -> int:
        """See `Backend`; rows in memory are looked up."""
        count = self._disk.count(table)
        for key, value in self._rows[table].values.items():
            count += (value is not None) - (self._disk.get(table, key) is not None)
        return count

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """See `Backend`."""
        self._rows[table].change(key, value)
        self._changed[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        """See `Backend`."""
        self._rows[table].change(key, None)
        self._changed[table][key] = None

    def commit(self) -> None:
        """See `Backend`."""
        self.advance(wait=True)
        self.start_commit()
        self.advance(wait=True)

    def start_commit(self) -> None:
        """See `Backend`."""
        self._leaving, self._changed = self._changed, [{} for _ in Table]
        self._todo = _in_order(self._leaving)
        self._step = max(_STEP, sum(map(len, self._leaving)) // _STEPS + 1)

    def advance(self, *, wait: bool = False) -> bool:
        """See `Backend`."""
        while self._todo is not None:
            self._write(self._todo)
            if not wait:
                break
        if self._todo is not None or not self._disk.advance(wait=wait):
            return False
        self._forget()
        return True

    @property
    def is_waiting(self) -> bool:
        """See `Backend`."""
        return self._leaving is not None and self._todo is None

    def rollback(self) -> None:
        """See `Backend`."""
        self._disk.rollback()
        self._rows = [_Rows() for _ in Table]
        self._changed = [{} for _ in Table]
        self._leaving = self._todo = None

    def release(self) -> None:
        """See `Backend`."""
        self._disk.release()

    def forget_dead_readers(self) -> None:
        """See `Backend`."""
        self._disk.forget_dead_readers()

    def widen(self) -> None:
        """See `Backend`."""
        self._disk.widen()

    def drop_old_tables(self) -> None:
        """See `Backend`."""
        self._disk.drop_old_tables()

    def used_bytes(self) -> int:
        """See `Backend`; rows in memory are not counted."""
        return self._disk.used_bytes()

    def file_bytes(self) -> int:
        """See `Backend`."""
        return self._disk.file_bytes()

    def close(self) -> None:
        """See `Backend`."""
        self._disk.close()

    def _write(self, todo: Iterator[tuple[Table, bytes, bytes | None]]) -> None:
        """Write some rows into the transaction; behind the last, have the disk finish it."""
        step = list(islice(todo, self._step))
        for table, key, value in step:
            if value is None:
                self._disk.delete(table, key)
            else:
                self._disk.put(table, key, value)
        if len(step) < self._step:
            self._todo = None
            self._disk.start_commit()

    def _forget(self) -> None:
        """Let go of rows that are on disk now, and have reads see them there."""
        if self._leaving is None:
            return
        for rows, leaving, changed in zip(self._rows, self._leaving, self._changed, strict=True):
            if leaving:
                rows.forget(leaving.keys() - changed.keys())
        self._leaving = None
        self._disk.release()


def _in_order(changes: list[dict[bytes, bytes | None]]) -> Iterator[tuple[Table, bytes, bytes | None]]:
    """Return rows in key order: neighbours on disk are written together."""
    for table in Table:
        for key in sorted(changes[table]):
            yield table, key, changes[table][key]
