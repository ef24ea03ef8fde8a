"""Packing of internal messages: one MessagePack array of [tag, field, …] arrays for all that goes to one actor in
one turn of the reactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack

from codexdht.errors import DecodeError
from codexdht.messages import internal as m
from codexdht.messages.internal import Message

TAGS: Final[dict[type[Any], int]] = {
    m.Hello: 1,
    m.NodeLife: 2,
    m.ClockSet: 3,
    m.LocalRecords: 4,
    m.Done: 5,
    m.Failed: 6,
    m.Open: 10,
    m.Close: 11,
    m.UpdateRecord: 12,
    m.Start: 13,
    m.Lookup: 14,
    m.Resolve: 15,
    m.FindProviders: 16,
    m.Publish: 17,
    m.Withdraw: 18,
    m.PingNode: 19,
    m.Talk: 20,
    m.DumpTable: 21,
    m.Stats: 22,
    m.PutProvider: 30,
    m.GetProviders: 31,
    m.RemoveProviders: 32,
    m.SaveTable: 33,
    m.LoadTable: 34,
    m.PutProvided: 35,
    m.DropProvided: 36,
    m.ListProvided: 37,
    m.PeerRequest: 50,
    m.PeerReply: 51,
    m.Call: 52,
    m.CallSent: 53,
    m.CallAnswer: 54,
    m.CallFailed: 55,
    m.PeerSeen: 56,
    m.AddressVoted: 57,
}
"""Numbers on the wire between actors. They are never reused for another meaning."""

_CLASSES: dict[int, Any] = {tag: message for message, tag in TAGS.items()}


def encode_batch(messages: Sequence[Message]) -> bytes:
    """Return the bytes of a batch."""
    packed: bytes = msgpack.packb([(TAGS[type(message)], *message) for message in messages])
    return packed


def decode_batch(data: bytes) -> list[Message]:
    """Return the messages of a batch. Raises DecodeError for anything that `encode_batch` does not write."""
    try:
        batch = msgpack.unpackb(data)
        return [_CLASSES[fields[0]](*fields[1:]) for fields in batch]
    except (ValueError, TypeError, KeyError, IndexError, msgpack.UnpackException):
        raise DecodeError("bad batch") from None
