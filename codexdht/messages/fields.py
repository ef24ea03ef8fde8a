"""Protobuf fields as every peer writes them, read and written without protobuf (wire.md section 5).

What is read here is read as protobuf would; what is not of the usual form is None, and left to it. Then protobuf is
imported, too: a process that never meets such a message is 3 MB smaller.
"""

from __future__ import annotations

from typing import Final

from codexdht.identity.encoding import read_fields, read_uvarint, uvarint

MAX_DATAGRAM: Final = 1280


FIELD_2_HEADS: Final = tuple(b"\x12" + uvarint(size) for size in range(MAX_DATAGRAM))
_LONG_FIELD_2: Final = {head: size for size, head in enumerate(FIELD_2_HEADS) if size > 127}


def field_2(data: bytes) -> bytes:
    """Return bytes as a field of number 2."""
    return head_2(len(data)) + data


def head_2(size: int) -> bytes:
    """Return what stands before the bytes of a field of number 2, by their number."""
    return FIELD_2_HEADS[size] if size < MAX_DATAGRAM else b"\x12" + uvarint(size)


def only_varint(data: bytes, at: int) -> int | None:
    """Return the number that is all of data from an offset on, if it has 9 bytes at most."""
    value, end = read_uvarint(data, at, 9)
    return value if value >= 0 and end == len(data) else None


def last_field_2(body: bytes, at: int) -> bytes | None:
    """Return the bytes of a field of number 2, if that is all of a body from an offset on; 1 us less than protobuf."""
    size = len(body) - at
    head = 2 if size < 130 else 3
    if head <= size < MAX_DATAGRAM and body[at : at + head] == FIELD_2_HEADS[size - head]:
        return body[at + head :]
    return None


def fields_2(body: bytes, at: int) -> list[bytes] | None:
    """Return the bytes of fields of number 2, 128 or more in each, if they are all of a body from an offset on."""
    return read_fields(body, at, 3, _LONG_FIELD_2)


def pairs(body: bytes) -> list[int] | None:
    """Return the numbers in fields of number 1 and two bytes each, if they are all of a body."""
    fields = [body[at : at + 4] for at in range(0, len(body), 4)]
    if all(len(field) == 4 and field[:2] == b"\x0a\x02" for field in fields):
        return [int.from_bytes(field[2:], "big") for field in fields]
    return None
