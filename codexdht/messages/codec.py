"""Packing of internal messages: one MessagePack array of [tag, field, …] arrays for all that goes to one actor in
one turn of the reactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from codexdht.errors import DecodeError
from codexdht.messages.internal import TAGS, Message

_CLASSES: dict[int, Any] = {tag: message for message, tag in TAGS.items()}


def encode_batch(messages: Sequence[Message]) -> bytes:
    """Return the bytes of a batch."""
    packed: bytes = msgpack.packb([(TAGS[type(m)], *m) for m in messages])
    return packed


def decode_batch(data: bytes) -> list[Message]:
    """Return the messages of a batch. Raises DecodeError for anything that `encode_batch` does not write."""
    try:
        batch = msgpack.unpackb(data)
        return [_CLASSES[fields[0]](*fields[1:]) for fields in batch]
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException):
        raise DecodeError("bad batch") from None
