"""Packing of internal messages: one MessagePack array of [tag, field, …] arrays for all that goes to one actor in
one turn of the reactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import MsgspecError
from msgspec.msgpack import Decoder, Encoder

from codexdht.errors import DecodeError
from codexdht.messages.internal import Message

_ENCODER: Final = Encoder()
_DECODER: Final = Decoder(list[Message])


def encode_batch(messages: Sequence[Message]) -> bytes:
    """Return the bytes of a batch."""
    return _ENCODER.encode(messages)


def decode_batch(data: bytes) -> list[Message]:
    """Return the messages of a batch. Raises DecodeError for anything that `encode_batch` does not write."""
    try:
        return _DECODER.decode(data)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        raise DecodeError("bad batch") from None
