"""How provider records lie in the tables.

| table | key | value |
|---|---|---|
| PEERS | node id (32) | number (4) |
| RECORDS | number | node id, seq (8), encoded record |
| ENTRIES | key (32), number | expiry (4), order (4), source network (0, 3 or 8) |
| BY_PEER | number, key | – |
| BY_EXPIRY | expiry, order, key, number | – |
| NETWORKS | source network | how many entries have it (4) |
| DOOMED | number | – |
| META | name | layout version, next number, clock |

Integers are big-endian, so tables are ordered by them. A peer gets a number when it is first stored, and its record
is kept once under it, however many keys it provides: 32 bytes of node id in three tables would take twice the room.
A number is not used again; 2^32 of them outlast eleven years of a million new providers a day. Expiry is in seconds
of `StoreClock`. The order counts what this process has written: it makes new rows of BY_EXPIRY the last ones, side by
side in few pages, where keys would spread them over all pages of their second. Nothing depends on it otherwise.

Invariants: an entry, its BY_PEER and its BY_EXPIRY row exist together or not at all. A number has entries exactly as
long as it is in RECORDS or in DOOMED, never in both. DOOMED peers are removed already, as readers see it, and their
entries are deleted bit by bit. PEERS is the inverse of the node ids in RECORDS.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codexdht.store.backend import Backend, Row, Table, damaged

LAYOUT: Final = 3
LAYOUT_ROW: Final = b"layout"
CLOCK_ROW: Final = b"clock"
NEXT_NUMBER_ROW: Final = b"next number"
KEY_SIZE: Final = 32
NUMBER_SIZE: Final = 4
NO_LIMIT: Final = 2**62
_AFTER_NUMBERS: Final = b"\xff" * (NUMBER_SIZE + 1)
_AFTER_KEYS: Final = b"\xff" * (KEY_SIZE + 1)


class Entry(NamedTuple):
    """One provider of one key: when it expires (time of the store), the network it came from, and its order."""

    expiry: int
    source: bytes
    order: bytes


def encode_int(value: int) -> bytes:
    """Return a number, expiry or count as 4 bytes."""
    return value.to_bytes(4, "big")


def decode_entry(value: bytes) -> Entry:
    """Return what a row of ENTRIES holds."""
    return Entry(int.from_bytes(value[:4], "big"), value[8:], value[4:8])


def expiry_row(row: bytes, value: bytes) -> bytes:
    """Return the key in BY_EXPIRY that belongs to a row of ENTRIES."""
    return value[:8] + row


class Entries:
    """The entries and their indexes, changed together. `doomed` mirrors DOOMED, `count` the number of entries.

    Invariant: BY_EXPIRY has no row below `_first`. What was deleted there a moment ago need not be passed again.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._written = 0
        self._first = b""
        self.doomed: set[bytes] = set()
        self.count = 0
        self.reload()

    def reload(self) -> None:
        """Read again what is mirrored in memory, after a rollback."""
        self._first = b""
        self.count = self._backend.count(Table.ENTRIES)
        self.doomed = {
            number for number, _ in self._backend.range(Table.DOOMED, b"", _AFTER_NUMBERS, NO_LIMIT)
        }

    def of_key(self, key: bytes) -> list[tuple[bytes, Entry]]:
        """Return the numbers and entries of a key's providers, expired ones among them."""
        return [(row[KEY_SIZE:], decode_entry(value)) for row, value in self._rows(key)]

    def live(self, key: bytes, time: int) -> list[tuple[int, bytes]]:
        """Return (expiry, number) of a key's providers that have not expired, freshest first."""
        oldest = encode_int(time + 1)
        held = [
            (int.from_bytes(value[:4], "big"), row[KEY_SIZE:])
            for row, value in self._rows(key)
            if value[:4] >= oldest
        ]
        if len(held) > 1:
            held.sort(reverse=True)
        return held

    def _rows(self, key: bytes) -> list[Row]:
        rows = self._backend.range(Table.ENTRIES, key, key + _AFTER_NUMBERS, NO_LIMIT)
        doomed = self.doomed
        return [row for row in rows if row[0][KEY_SIZE:] not in doomed] if doomed else rows

    def keys_of(self, number: bytes, start: bytes, limit: int) -> list[bytes]:
        """Return keys of one peer, in order from the first not below start."""
        rows = self._backend.range(Table.BY_PEER, number + start, number + _AFTER_KEYS, limit)
        return [row[NUMBER_SIZE:] for row, _ in rows]

    def expired(self, time: int, limit: int) -> list[tuple[bytes, bytes]]:
        """Return (key, number) of entries that have expired, those that expired first before others."""
        rows = self._backend.range(Table.BY_EXPIRY, self._first, encode_int(time + 1), limit)
        return [(row[8 : 8 + KEY_SIZE], row[8 + KEY_SIZE :]) for row, _ in rows]

    def next_expiry(self) -> int | None:
        """Return when the next entry expires, or has expired."""
        rows = self._backend.range(Table.BY_EXPIRY, self._first, b"\xff" * 5, 1)
        if not rows:
            return None
        self._first = rows[0][0]
        return int.from_bytes(self._first[:4], "big")

    def count_of_source(self, source: bytes) -> int:
        """Return the number of entries from one network."""
        return int.from_bytes(self._backend.get(Table.NETWORKS, source) or b"", "big")

    def add(self, key: bytes, number: bytes, expiry: int, source: bytes) -> Entry:
        """Write an entry that does not exist."""
        entry = Entry(expiry, source, self._next_order())
        self._write(key, number, entry)
        self._backend.put(Table.BY_PEER, number + key, b"")
        self.count += 1
        if source:
            self._count_source(source, 1)
        return entry

    def refresh(self, key: bytes, number: bytes, old: Entry, expiry: int) -> Entry:
        """Change the expiry of an entry; its source stays."""
        self._backend.delete(Table.BY_EXPIRY, encode_int(old.expiry) + old.order + key + number)
        entry = Entry(expiry, old.source, self._next_order())
        self._write(key, number, entry)
        return entry

    def remove(self, key: bytes, number: bytes) -> None:
        """Remove an entry. Raises StoreError when an index led to one that does not exist: it would do so for ever."""
        backend, row = self._backend, key + number
        value = backend.get(Table.ENTRIES, row)
        if value is None:
            raise damaged("a record is missing that an index names")
        self.count -= 1
        backend.delete(Table.ENTRIES, row)
        backend.delete(Table.BY_PEER, number + key)
        backend.delete(Table.BY_EXPIRY, expiry_row(row, value))
        if len(value) > 8:
            self._count_source(value[8:], -1)

    def has_any(self, number: bytes) -> bool:
        """Tell whether a peer has entries."""
        return bool(self._backend.range(Table.BY_PEER, number, number + _AFTER_KEYS, 1))

    def _next_order(self) -> bytes:
        self._written = (self._written + 1) & 0xFFFFFFFF
        return encode_int(self._written)

    def _write(self, key: bytes, number: bytes, entry: Entry) -> None:
        row, value = key + number, encode_int(entry.expiry) + entry.order + entry.source
        by_expiry = expiry_row(row, value)
        self._first = min(self._first, by_expiry)
        self._backend.put(Table.ENTRIES, row, value)
        self._backend.put(Table.BY_EXPIRY, by_expiry, b"")

    def doom(self, number: bytes) -> None:
        """Hide all entries of a peer from readers."""
        self._backend.put(Table.DOOMED, number, b"")
        self.doomed.add(number)

    def absolve(self, number: bytes) -> None:
        """Forget a doomed peer whose last entry is gone."""
        self._backend.delete(Table.DOOMED, number)
        self.doomed.discard(number)

    def _count_source(self, source: bytes, change: int) -> None:
        count = self.count_of_source(source) + change
        if count > 0:
            self._backend.put(Table.NETWORKS, source, encode_int(count))
        else:
            self._backend.delete(Table.NETWORKS, source)
