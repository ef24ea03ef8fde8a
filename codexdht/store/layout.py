"""How provider records lie in the tables.

| table | key | value |
|---|---|---|
| PEERS | node id (32) | number (4) |
| RECORDS | number | node id, seq (8), encoded record |
| ENTRIES | key (32), number | expiry (4), source network (0, 3 or 8) |
| BY_PEER | number, key | – |
| BY_EXPIRY | expiry, key, number | – |
| NETWORKS | source network | how many entries have it (4) |
| DOOMED | number | – |
| META | name | layout version, next number, clock |

Integers are big-endian, so tables are ordered by them. A peer gets a number when it is first stored, and its record
is kept once under it, however many keys it provides: 32 bytes of node id in three tables would take twice the room.
A number is not used again; 2^32 of them outlast eleven years of a million new providers a day. Expiry is in seconds
of `StoreClock`.

Invariants: an entry, its BY_PEER and its BY_EXPIRY row exist together or not at all. A number has entries exactly as
long as it is in RECORDS or in DOOMED, never in both. DOOMED peers are removed already, as readers see it, and their
entries are deleted bit by bit. PEERS is the inverse of the node ids in RECORDS.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codexdht.store.backend import Backend, Row, Table

LAYOUT: Final = 2
LAYOUT_ROW: Final = b"layout"
CLOCK_ROW: Final = b"clock"
NEXT_NUMBER_ROW: Final = b"next number"
KEY_SIZE: Final = 32
NUMBER_SIZE: Final = 4
NO_LIMIT: Final = 2**62
_AFTER_NUMBERS: Final = b"\xff" * (NUMBER_SIZE + 1)
_AFTER_KEYS: Final = b"\xff" * (KEY_SIZE + 1)


class Entry(NamedTuple):
    """One provider of one key: when it expires (time of the store), and the network it was announced from."""

    expiry: int
    source: bytes


def encode_int(value: int) -> bytes:
    """Return a number, expiry or count as 4 bytes."""
    return value.to_bytes(4, "big")


def decode_entry(value: bytes) -> Entry:
    """Return what a row of ENTRIES holds."""
    return Entry(int.from_bytes(value[:4], "big"), value[4:])


class Entries:
    """The entries and their indexes, changed together. `doomed` mirrors DOOMED, `count` the number of entries."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.doomed: set[bytes] = set()
        self.count = 0
        self.reload()

    def reload(self) -> None:
        """Read again what is mirrored in memory, after a rollback."""
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
        rows = self._backend.range(Table.BY_EXPIRY, b"", encode_int(time + 1), limit)
        return [(row[4 : 4 + KEY_SIZE], row[4 + KEY_SIZE :]) for row, _ in rows]

    def next_expiry(self) -> int | None:
        """Return when the next entry expires, or has expired."""
        rows: list[Row] = self._backend.range(Table.BY_EXPIRY, b"", b"\xff" * 5, 1)
        return int.from_bytes(rows[0][0][:4], "big") if rows else None

    def count_of_source(self, source: bytes) -> int:
        """Return the number of entries from one network."""
        return int.from_bytes(self._backend.get(Table.NETWORKS, source) or b"", "big")

    def add(self, key: bytes, number: bytes, entry: Entry) -> None:
        """Write an entry that does not exist."""
        backend = self._backend
        expiry = encode_int(entry.expiry)
        backend.put(Table.ENTRIES, key + number, expiry + entry.source)
        backend.put(Table.BY_PEER, number + key, b"")
        backend.put(Table.BY_EXPIRY, expiry + key + number, b"")
        self.count += 1
        if entry.source:
            self._count_source(entry.source, 1)

    def refresh(self, key: bytes, number: bytes, old: Entry, new: Entry) -> None:
        """Change the expiry of an entry; its source stays."""
        backend = self._backend
        expiry = encode_int(new.expiry)
        backend.put(Table.ENTRIES, key + number, expiry + new.source)
        backend.delete(Table.BY_EXPIRY, encode_int(old.expiry) + key + number)
        backend.put(Table.BY_EXPIRY, expiry + key + number, b"")

    def remove(self, key: bytes, number: bytes) -> bool:
        """Remove an entry if it exists; tell whether the peer has others."""
        backend = self._backend
        value = backend.get(Table.ENTRIES, key + number)
        if value is not None:
            self.count -= 1
            backend.delete(Table.ENTRIES, key + number)
            backend.delete(Table.BY_PEER, number + key)
            backend.delete(Table.BY_EXPIRY, value[:4] + key + number)
            if len(value) > 4:
                self._count_source(value[4:], -1)
        return bool(backend.range(Table.BY_PEER, number, number + _AFTER_KEYS, 1))

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
