"""Numbers and fields as protobuf and multiformats encode them (wire.md sections 1, 2 and 5), for all that read or write
them by hand."""

from __future__ import annotations

from collections.abc import Mapping


def uvarint(value: int) -> bytes:
    """Return a number that is not negative as an unsigned varint."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_uvarint(data: bytes, at: int, longest: int) -> tuple[int, int]:
    """Return the number at an offset, of so many bytes at most, and the offset behind it; it is -1 where none is."""
    value = shift = 0
    for byte in data[at : at + longest]:
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    return -1, at


def read_fields(data: bytes, at: int, head: int, sizes: Mapping[bytes, int]) -> list[bytes] | None:
    """Return the bytes in the fields that are all of data from an offset on, or None where anything else is.

    What stands before each of them has `head` bytes, and `sizes` says how many follow.
    """
    fields: list[bytes] = []
    while at < len(data):
        size = sizes.get(data[at : at + head])
        if size is None:
            return None
        at += head + size
        fields.append(data[at - size : at])
    return fields if at == len(data) else None
