"""What the store needs of a database: a few ordered tables of byte strings, and transactions.

`lmdb_backend` provides it on disk and `memory_backend` in memory, for simulations and tests. `buffer` wraps the one on
disk so that a commit holds nobody up.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol

from codexdht.errors import StorageFull, StoreError

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
PAIRS: Final = {Table.BY_EXPIRY: 40}
"""Tables whose keys are a 4-byte prefix, that many rows share, and so many bytes more; their values are empty, and
most rows are put behind all others. A backend may keep the prefix once."""


ADVICE: Final = "move it away and start again with an empty store, or put back a copy of it"


def damaged(what: str) -> StoreError:
    """Return the error of a store whose rows contradict each other: no node should go on with it."""
    return StoreError(f"the store is damaged: {what}; {ADVICE}")


class NoRoom(StorageFull):
    """The disk or the map has no room; the open transaction is lost."""


def cannot_start(error: NoRoom) -> StoreError:
    """Return the error of a store that finds no room while it is opened: nobody is there yet to be told of NoRoom."""
    return StoreError(f"{error}; make room on its disk, and start again")


class Backend(Protocol):
    """Ordered tables with one writer.

    Changes are visible to reads at once and on disk after `commit`. Every method raises StoreError when the store
    is damaged. `put`, `delete`, `commit` and `advance` raise NoRoom when that is so; nothing since the last complete
    commit is kept then, and `rollback` has to be called before anything else.
    """

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value of a row, or None."""

    def range(self, table: Table, start: bytes, end: bytes, limit: int) -> list[Row]:
        """Return the rows with start <= key < end in key order, `limit` at most."""

    def count(self, table: Table) -> int:
        """Return the number of rows, without reading them."""

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row, in place of an older one."""

    def delete(self, table: Table, key: bytes) -> None:
        """Remove a row if there is one."""

    def commit(self) -> None:
        """Make all changes durable: neither the death of the process nor of the machine undoes them."""

    def start_commit(self) -> None:
        """Begin to do the same; `advance` goes on with it. Changes made meanwhile belong to the next commit."""

    def advance(self, *, wait: bool = False) -> bool:
        """Go on with the commit that was started; tell whether it is complete. Holds nobody up unless told to wait."""

    @property
    def is_waiting(self) -> bool:
        """Tell whether `advance` has nothing to do until the disk is done."""

    def rollback(self) -> None:
        """Forget all changes that no complete commit holds."""

    def release(self) -> None:
        """Let go of the snapshot that reads have used, so that its pages can be used again."""

    def forget_dead_readers(self) -> None:
        """Let go of the snapshots of other processes that were killed: their pages could never be used again."""

    def widen(self) -> None:
        """Allow the file to grow threefold, until it is opened again: a migration may need that, whatever the limit."""

    def drop_old_tables(self) -> None:
        """Remove the tables that only older layouts have; committed at once."""

    def used_bytes(self) -> int:
        """Return how many bytes the rows take, free room inside the file not counted."""

    def file_bytes(self) -> int:
        """Return the size of the file, or the same as used_bytes where there is none."""

    def close(self) -> None:
        """Commit nothing more and give the files back."""
