"""The store's tables in memory: for simulations, where a node is one of thousands, and for tests.

Keys of a table are kept sorted in one list, so writing takes time proportional to the table; simulated nodes hold
a few thousand rows.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from codexdht.store.backend import NoRoom, Row, Table

_ROW_OVERHEAD = 16


class _Rows:
    """One table: `keys` holds the keys of `values` in order."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.values: dict[bytes, bytes] = {}

    def set(self, key: bytes, value: bytes | None) -> bytes | None:
        """Write a row, or remove it (None); return what was there."""
        old = self.values.get(key)
        if value is not None:
            if old is None:
                insort(self.keys, key)
            self.values[key] = value
        elif old is not None:
            del self.keys[bisect_left(self.keys, key)]
            del self.values[key]
        return old


class MemoryBackend:
    """See `Backend`. `_undo` holds what the rows changed since the last commit were before, oldest first."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._tables = [_Rows() for _ in Table]
        self._undo: list[tuple[Table, bytes, bytes | None]] = []
        self._used = 0
        self._max_bytes = max_bytes

    def get(self, table: Table, key: bytes) -> bytes | None:
        """See `Backend`."""
        return self._tables[table].values.get(key)

    def range(self, table: Table, start: bytes, end: bytes, limit: int) -> list[Row]:
        """See `Backend`."""
        rows = self._tables[table]
        first = bisect_left(rows.keys, start)
        last = min(bisect_left(rows.keys, end, first), first + limit)
        return [(key, rows.values[key]) for key in rows.keys[first:last]]

    def count(self, table: Table) -> int:
        """See `Backend`."""
        return len(self._tables[table].keys)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """See `Backend`."""
        if self._max_bytes is not None and self._used + _size(key, value) > self._max_bytes:
            raise NoRoom("the store in memory has reached its limit")
        self._undo.append((table, key, self._set(table, key, value)))

    def delete(self, table: Table, key: bytes) -> None:
        """See `Backend`."""
        old = self._set(table, key, None)
        if old is not None:
            self._undo.append((table, key, old))

    def commit(self) -> None:
        """See `Backend`; there is nothing to make durable."""
        self._undo.clear()

    start_commit = commit

    def advance(self, *, wait: bool = False) -> bool:  # noqa: ARG002
        """See `Backend`; a commit is complete at once."""
        return True

    @property
    def is_waiting(self) -> bool:
        """See `Backend`."""
        return False

    def rollback(self) -> None:
        """See `Backend`."""
        while self._undo:
            self._set(*self._undo.pop())

    def release(self) -> None:
        """See `Backend`; reads use no snapshot."""

    def forget_dead_readers(self) -> None:
        """See `Backend`; there are no other processes."""

    def widen(self) -> None:
        """See `Backend`; there is no file."""

    def drop_old_tables(self) -> None:
        """See `Backend`; there never were any."""

    def used_bytes(self) -> int:
        """See `Backend`."""
        return self._used

    def file_bytes(self) -> int:
        """See `Backend`."""
        return self._used

    def close(self) -> None:
        """See `Backend`."""
        self.rollback()

    def _set(self, table: Table, key: bytes, value: bytes | None) -> bytes | None:
        old = self._tables[table].set(key, value)
        self._used += _size(key, value) - _size(key, old)
        return old


def _size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else _ROW_OVERHEAD + len(key) + len(value)
