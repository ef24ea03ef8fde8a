"""Walking through a whole table, for the tools: a node never does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from codexdht.store.backend import Backend, Row, Table

Progress = Callable[[int, int], None]
"""Called with (done, total) now and then; a total of 0 is an unknown one."""
PAGE: Final = 2000
END: Final = b"\xff" * 80
"""Above every key of every table."""


def no_progress(_done: int, _total: int) -> None:
    """Report nothing."""


def rows_of(backend: Backend, table: Table) -> Iterator[Row]:
    """Return every row of a table."""
    for rows in pages_of(backend, table):
        yield from rows


def pages_of(backend: Backend, table: Table) -> Iterator[list[Row]]:
    """Return every row of a table, `PAGE` at a time."""
    start = b""
    while True:
        rows = backend.range(table, start, END, PAGE)
        yield rows
        if len(rows) < PAGE:
            return
        start = rows[-1][0] + b"\0"
