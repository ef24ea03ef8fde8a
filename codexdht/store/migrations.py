"""The layout version of a store, and the way from an older one to today's."""

from __future__ import annotations

from codexdht.errors import StoreError
from codexdht.store.backend import Backend, Table
from codexdht.store.layout import LAYOUT, LAYOUT_ROW, encode_int


def prepare(backend: Backend) -> None:
    """Mark a new store with the layout version; bring an older one to it. Raises StoreError for a newer one."""
    stored = backend.get(Table.META, LAYOUT_ROW)
    version = LAYOUT if stored is None else int.from_bytes(stored, "big")
    if version > LAYOUT:
        raise StoreError(
            f"the store has layout {version}, and this version of codexdht knows {LAYOUT} at most: install a newer one"
        )
    if stored is None:
        backend.put(Table.META, LAYOUT_ROW, encode_int(LAYOUT))
        backend.commit()
