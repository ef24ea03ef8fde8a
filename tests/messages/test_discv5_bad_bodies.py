"""Messages that are protobuf, but not what wire.md says: each is refused, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codexdht.errors import DecodeError
from codexdht.messages import discv5
from codexdht.messages import discv5_pb2 as pb
from codexdht.messages.discv5 import Kind

ID = bytes(32)
PING = b"\x01"


def pong(family: bytes, address: bytes, port: bytes) -> bytes:
    body: bytes = pb.Pong(
        spr_seq=1, ip=pb.IpAddress(family=family, address=address), port=port
    ).SerializeToString()
    return body


BAD: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "nothing": (discv5.decode_outer, b""),
    "a reserved kind": (
        discv5.decode_outer,
        b"\x07" + pb.Outer(request_id=b"1", body=b"").SerializeToString(),
    ),
    "a request id of 9 bytes": (
        discv5.decode_outer,
        PING + pb.Outer(request_id=b"123456789", body=b"", client_mode=0).SerializeToString(),
    ),
    "no request id": (discv5.decode_outer, PING + pb.Outer(body=b"").SerializeToString()),
    "no body": (discv5.decode_outer, PING + pb.Outer(request_id=b"1").SerializeToString()),
    "a PING without seq": (discv5.decode_ping, b""),
    "a PONG without address": (discv5.decode_pong, pb.Pong(spr_seq=1, port=b"12").SerializeToString()),
    "a port of one byte": (discv5.decode_pong, pong(b"\x01", b"1234", b"1")),
    "a port of three bytes": (discv5.decode_pong, pong(b"\x01", b"1234", b"123")),
    "IPv4 of 16 bytes": (discv5.decode_pong, pong(b"\x01", ID[:16], b"12")),
    "IPv6 of 4 bytes": (discv5.decode_pong, pong(b"\x00", b"1234", b"12")),
    "another family": (discv5.decode_pong, pong(b"\x02", b"1234", b"12")),
    "a distance of one byte": (discv5.decode_find_node, pb.FindNode(distances=[b"1"]).SerializeToString()),
    "a distance of three": (discv5.decode_find_node, pb.FindNode(distances=[b"123"]).SerializeToString()),
    "a short target": (discv5.decode_find_node_fast, pb.FindNodeFast(target=ID[1:]).SerializeToString()),
    "a long target": (discv5.decode_find_node_fast, pb.FindNodeFast(target=ID + b"1").SerializeToString()),
    "records without total": (discv5.decode_records, pb.Records(records=[b"r"]).SerializeToString()),
    "a total of five bytes": (discv5.decode_records, b"\x08\x80\x80\x80\x80\x10"),
    "a short key": (discv5.decode_get_providers, pb.GetProviders(key=ID[1:]).SerializeToString()),
    "no key": (discv5.decode_get_providers, b""),
    "an announced key that is short": (
        discv5.decode_add_provider,
        pb.AddProvider(key=ID[1:], record=b"r").SerializeToString(),
    ),
    "no announced record": (discv5.decode_add_provider, pb.AddProvider(key=ID).SerializeToString()),
    "a talk without protocol": (discv5.decode_talk_request, pb.TalkRequest(request=b"q").SerializeToString()),
    "a talk without request": (discv5.decode_talk_request, pb.TalkRequest(protocol=b"p").SerializeToString()),
    "no response": (discv5.decode_talk_response, b""),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_messages(name: str) -> None:
    """What is missing, too long or too short is a DecodeError and nothing else."""
    decode, data = BAD[name]
    with pytest.raises(DecodeError):
        decode(data)


@pytest.mark.parametrize("total", [0, 1, 127, 128, 300, 2**32 - 1])
@pytest.mark.parametrize("records", [[], [b"r" * 180], [b"short"]])
def test_the_number_of_packets_is_read_alike(total: int, records: list[bytes]) -> None:
    """The wire reads no more than that; routing and the store read it with the records."""
    body = discv5.encode_records(total, records)
    assert discv5.records_total(body) == discv5.decode_records(body).total == total


def test_bodies_around_the_length_of_a_longer_head() -> None:
    """From 128 bytes on the length takes two bytes: messages on both sides of that are read as they were written."""
    for size in range(100, 140):
        body = b"x" * size
        plaintext = discv5.encode_outer(Kind.TALK_REQ, b"1", body, True)
        read = discv5.decode_outer(plaintext)
        assert read == discv5._decode_any_outer(plaintext) == (Kind.TALK_REQ, b"1", body, True)
        talk = discv5.TalkRequest(b"p", body)
        assert discv5.decode_talk_request(discv5.encode_talk_request(talk)) == talk
