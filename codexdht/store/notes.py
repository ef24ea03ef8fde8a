"""What the node keeps for itself between runs: the snapshot of its routing table, and the keys it provides."""

from __future__ import annotations

import struct
from typing import Any, Final

import msgpack

from codexdht.errors import StorageFull
from codexdht.store.backend import Backend, Table
from codexdht.store.layout import KEY_SIZE, NO_LIMIT

_CHUNK: Final = 2000
"""Longer values take whole pages of their own in LMDB, one behind the other, which fragments the file."""
_CHUNK_INDEX: Final = struct.Struct(">I")
_PUBLISHED: Final = struct.Struct(">d")
_AFTER_KEYS: Final = b"\xff" * (KEY_SIZE + 1)


def save_table(backend: Backend, entries: list[Any]) -> None:
    """Write a snapshot in place of the last one: the packed list, cut into rows."""
    for index, _ in _chunks(backend):
        backend.delete(Table.SNAPSHOT, index)
    packed: bytes = msgpack.packb(entries)
    for number, start in enumerate(range(0, len(packed), _CHUNK)):
        backend.put(Table.SNAPSHOT, _CHUNK_INDEX.pack(number), packed[start : start + _CHUNK])


def load_table(backend: Backend) -> list[Any]:
    """Return the entries last saved, or an empty list. Raises ValueError when they are unreadable."""
    packed = b"".join(chunk for _, chunk in _chunks(backend))
    if not packed:
        return []
    entries = msgpack.unpackb(packed)
    if not isinstance(entries, list):
        raise ValueError("not a list")
    return entries


def _chunks(backend: Backend) -> list[tuple[bytes, bytes]]:
    return backend.range(Table.SNAPSHOT, b"", b"\xff" * 5, NO_LIMIT)


def put_provided(backend: Backend, items: list[Any], record: bytes, limit: int) -> None:
    """Remember [key, Unix time of the last publication] for each item. Raises StorageFull above `limit` keys."""
    room = limit - backend.count(Table.PROVIDED)
    for key, published in items:
        if room < len(items) and backend.get(Table.PROVIDED, key) is None:
            if room <= 0:
                raise StorageFull(f"this node provides {limit} keys already")
            room -= 1
        backend.put(Table.PROVIDED, key, _PUBLISHED.pack(published) + record)


def drop_provided(backend: Backend, keys: list[bytes]) -> None:
    """Forget these keys."""
    for key in keys:
        backend.delete(Table.PROVIDED, key)


def list_provided(backend: Backend, start: bytes, limit: int) -> list[list[Any]]:
    """Return [key, time, record] in key order from the first key not below start."""
    size = _PUBLISHED.size
    return [
        [key, _PUBLISHED.unpack(value[:size])[0], value[size:]]
        for key, value in backend.range(Table.PROVIDED, start, _AFTER_KEYS, limit)
    ]
