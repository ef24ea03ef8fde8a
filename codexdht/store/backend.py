"""What the store needs of a database: a few ordered tables of byte strings, and transactions.

Two modules provide it: `lmdb_backend` on disk, `memory_backend` for simulations and tests.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol

from codexdht.errors import StorageFull

Row = tuple[bytes, bytes]


class Table(IntEnum):
    """The tables. `layout` says what their rows hold."""

    META = 0
    PEERS = 1
    RECORDS = 2
    ENTRIES = 3
    BY_PEER = 4
    BY_EXPIRY = 5
    NETWORKS = 6
    DOOMED = 7
    SNAPSHOT = 8
    PROVIDED = 9


PREFIX: Final = 4
PAIRS: Final = {Table.BY_PEER: 32, Table.BY_EXPIRY: 36}
"""Tables whose keys are a 4-byte prefix, that many rows share, and so many bytes more; their values are empty. A
backend may keep the prefix once."""


class NoRoom(StorageFull):
    """The disk or the map has no room; the open transaction is lost."""


class Backend(Protocol):
    """Ordered tables with one writer.

    Changes are visible to reads at once and on disk after `commit`. Every method raises StoreError when the store
    is damaged. `put`, `delete` and `commit` raise NoRoom when that is so; nothing since the last commit
    is kept then, and `rollback` has to be called before anything else.
    """

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value of a row, or None."""

    def range(self, table: Table, start: bytes, end: bytes, limit: int) -> list[Row]:
        """Return the rows with start <= key < end in key order, `limit` at most."""

    def count(self, table: Table) -> int:
        """Return the number of rows, without reading them."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row, in place of an older one."""

    def delete(self, table: Table, key: bytes) -> bool:
        """Remove a row; tell whether there was one."""

    def commit(self) -> None:
        """Make all changes durable: neither the death of the process nor of the machine undoes them."""

    def rollback(self) -> None:
        """Forget all changes since the last commit."""

    def release(self) -> None:
        """Let go of the snapshot that reads have used, so that its pages can be used again."""

    def drop_old_tables(self) -> None:
        """Remove the tables that only older layouts have; committed at once."""

    def used_bytes(self) -> int:
        """Return how many bytes the rows take, free room inside the file not counted."""

    def file_bytes(self) -> int:
        """Return the size of the file, or the same as used_bytes where there is none."""

    def close(self) -> None:
        """Commit nothing more and give the files back."""
