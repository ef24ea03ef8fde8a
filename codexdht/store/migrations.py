"""The layout version of a store, and the way from an older one to today's.

| layout | differs from the one before |
|---|---|
| 1 | – |
| 2 | BY_PEER and BY_EXPIRY keep a prefix that many rows share once: 20 % less room |
| 3 | an order in ENTRIES and BY_EXPIRY, and BY_PEER as in 1: an announcement changes two pages less |
"""

from __future__ import annotations

from typing import Final

from codexdht.errors import StoreError
from codexdht.store.backend import Backend, NoRoom, Table, cannot_start
from codexdht.store.layout import KEY_SIZE, LAYOUT, LAYOUT_ROW, encode_int, expiry_row
from codexdht.store.scan import rows_of

_BATCH: Final = 2000
_WITHOUT_ORDER: Final = (4, 7, 12)


def prepare(backend: Backend) -> None:
    """Mark a new store with the layout version; bring an older one to it. Raises StoreError for a newer one, and when
    the disk has no room.

    A migration that is interrupted begins again at the next start.
    """
    try:
        _prepare(backend)
    except NoRoom as error:
        raise cannot_start(error) from None


def _prepare(backend: Backend) -> None:
    stored = backend.get(Table.META, LAYOUT_ROW)
    if stored is None:
        _mark(backend, LAYOUT)
        return
    version = int.from_bytes(stored, "big")
    if version > LAYOUT:
        raise StoreError(
            f"the store has layout {version}, and this version of codexdht knows {LAYOUT} at most: install a newer one"
        )
    if version < LAYOUT:
        _rebuild(backend)
        _mark(backend, LAYOUT)


def _mark(backend: Backend, version: int) -> None:
    backend.put(Table.META, LAYOUT_ROW, encode_int(version))
    backend.commit()


def _rebuild(backend: Backend) -> None:
    """From 1 or 2 to 3: the new indexes begin empty, and every entry gets an order and is entered into them.

    An entry's length tells whether it has an order already: it is 8, 11 or 16 then, and was 4, 7 or 12. The old indexes
    go first, for their room; what is left of them after an interruption is not read again.
    """
    backend.widen()
    backend.drop_old_tables()
    for count, (row, old) in enumerate(rows_of(backend, Table.ENTRIES), 1):
        value = old[:4] + bytes(4) + old[4:] if len(old) in _WITHOUT_ORDER else old
        backend.put(Table.ENTRIES, row, value)
        backend.put(Table.BY_PEER, row[KEY_SIZE:] + row[:KEY_SIZE], b"")
        backend.put(Table.BY_EXPIRY, expiry_row(row, value), b"")
        if count % _BATCH == 0:
            backend.commit()
    backend.commit()
