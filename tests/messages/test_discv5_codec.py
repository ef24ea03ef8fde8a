"""Peers' messages: every one round-trips, the short ways agree with protobuf, and nothing but DecodeError is raised."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import example, given
from hypothesis import strategies as st

from codexdht.errors import DecodeError
from codexdht.messages import discv5
from codexdht.messages import discv5_pb2 as pb
from codexdht.messages.discv5 import AddProvider, Kind, Pong, TalkRequest

ids = st.binary(min_size=32, max_size=32)
seqs = st.integers(0, 2**64 - 1)
hosts = st.ip_addresses().map(str)
records = st.lists(st.binary(max_size=300), max_size=5)
DECODERS: list[Callable[[bytes], Any]] = [
    discv5.decode_outer,
    discv5.decode_ping,
    discv5.decode_pong,
    discv5.decode_find_node,
    discv5.decode_find_node_fast,
    discv5.decode_records,
    discv5.records_total,
    discv5.decode_talk_request,
    discv5.decode_talk_response,
    discv5.decode_add_provider,
    discv5.decode_get_providers,
]


@given(st.sampled_from(Kind), st.binary(max_size=8), st.binary(max_size=1200), st.booleans())
def test_outer(kind: Kind, request_id: bytes, body: bytes, client_mode: bool) -> None:
    """The outer message round-trips, and its bytes are those of protobuf."""
    plaintext = discv5.encode_outer(kind, request_id, body, client_mode)
    assert discv5.decode_outer(plaintext) == (kind, request_id, body, client_mode)
    message = pb.Outer(request_id=request_id, body=body, client_mode=int(client_mode))
    assert plaintext == bytes((kind,)) + message.SerializeToString()


@given(
    st.sampled_from(Kind),
    st.binary(max_size=8),
    st.binary(max_size=200),
    st.integers(0, 230),
    st.integers(0, 255),
)
def test_short_way_agrees_with_protobuf(
    kind: Kind, request_id: bytes, body: bytes, at: int, byte: int
) -> None:
    """A message with one byte changed means to us what it means to protobuf, or is refused by both."""
    plaintext = bytearray(discv5.encode_outer(kind, request_id, body, False))
    plaintext[at % len(plaintext)] = byte
    data = bytes(plaintext)
    assert outcome(discv5.decode_outer, data) == outcome(discv5._decode_any_outer, data)


@given(seqs, st.binary(max_size=120), st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_short_bodies_agree_with_protobuf(
    seq: int, protocol: bytes, content: bytes, at: int, byte: int
) -> None:
    """So do the bodies that are read without protobuf; PONG, whose fields lie deeper, is below."""
    talk, add = TalkRequest(protocol, content), AddProvider(protocol[:1] * 32, content)
    for decode, message, body in (
        (discv5.decode_ping, pb.Ping, discv5.encode_ping(seq)),
        (discv5.decode_talk_request, pb.TalkRequest, discv5.encode_talk_request(talk)),
        (discv5.decode_add_provider, pb.AddProvider, discv5.encode_add_provider(add)),
        (
            decode_records,
            pb.Records,
            discv5.encode_records(seq % 200, [content, protocol, content + content]),
        ),
        (decode_distances, pb.FindNode, discv5.encode_find_node([seq % 257, at, byte])),
    ):
        data = bytearray(body)
        data[at % len(data)] = byte
        read = outcome(decode, bytes(data))
        try:
            meant = [value for _, value in message.FromString(bytes(data)).ListFields()]
        except ProtobufError:
            assert read == "bad body"
        else:
            assert read == "bad body" or (list(read) if isinstance(read, tuple) else [read]) == meant


def decode_records(body: bytes) -> tuple[Any, ...]:
    """As protobuf lists fields: without a list that is empty."""
    total, found = discv5.decode_records(body)
    return (total, found) if found else (total,)


def decode_distances(body: bytes) -> tuple[Any, ...]:
    """The same, and in bytes."""
    distances = [distance.to_bytes(2, "big") for distance in discv5.decode_find_node(body)]
    return (distances,) if distances else ()


@given(seqs, hosts, st.integers(0, 65535), st.integers(0, 60), st.integers(0, 255))
def test_short_pong_agrees_with_protobuf(seq: int, host: str, port: int, at: int, byte: int) -> None:
    """A PONG with one byte changed says what it says in protobuf."""
    data = bytearray(discv5.encode_pong(Pong(seq, host, port)))
    data[at % len(data)] = byte
    read = outcome(discv5.decode_pong, bytes(data))
    if isinstance(read, Pong):
        message = pb.Pong.FromString(bytes(data))
        meant = message.spr_seq, ip_address(message.ip.address), int.from_bytes(message.port, "big")
        assert (read.seq, ip_address(read.host), read.port) == meant


def outcome(decode: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return decode(data)
    except DecodeError as error:
        return str(error)


@given(seqs, hosts, st.integers(0, 65535))
def test_ping_and_pong(seq: int, host: str, port: int) -> None:
    """PING and PONG round-trip, of IPv4 and IPv6, and their bytes are those of protobuf."""
    assert discv5.decode_ping(discv5.encode_ping(seq)) == seq
    pong = Pong(seq, host, port)
    body = discv5.encode_pong(pong)
    assert discv5.decode_pong(body) == pong
    assert pb.Pong.FromString(body).SerializeToString() == body


@given(st.lists(st.integers(0, 65535), max_size=10), ids)
def test_find_node(distances: list[int], target: bytes) -> None:
    """Both forms of FIND_NODE round-trip, the empty list, too."""
    assert discv5.decode_find_node(discv5.encode_find_node(distances)) == distances
    assert discv5.decode_find_node_fast(discv5.encode_find_node_fast(target)) == target
    assert discv5.decode_get_providers(discv5.encode_get_providers(target)) == target


@given(st.integers(0, 2**32 - 1), records)
def test_records(total: int, sprs: list[bytes]) -> None:
    """NODES and PROVIDERS round-trip, and their bytes are those of protobuf."""
    body = discv5.encode_records(total, sprs)
    assert discv5.decode_records(body) == (total, sprs)
    assert discv5.records_total(body) == total
    assert body == pb.Records(total=total, records=sprs).SerializeToString()


@given(st.binary(max_size=300), st.binary(max_size=300), ids)
def test_talk_and_add_provider(protocol: bytes, request: bytes, key: bytes) -> None:
    """TALK_REQ, TALK_RESP and ADD_PROVIDER round-trip."""
    talk = TalkRequest(protocol, request)
    assert discv5.decode_talk_request(discv5.encode_talk_request(talk)) == talk
    assert discv5.decode_talk_response(discv5.encode_talk_response(request)) == request
    add = AddProvider(key, request)
    assert discv5.decode_add_provider(discv5.encode_add_provider(add)) == add


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(data=st.binary(max_size=80))
def test_no_bytes_raise_but_decode_error(decode: Callable[[bytes], Any], data: bytes) -> None:
    """Any bytes decode or raise DecodeError."""
    outcome(decode, data)


@given(st.lists(st.integers(0, 1300), max_size=40), st.integers(1, 16))
@example([60] * 40, 5)
@example([1150, 1151, 1150, 0], 2)
def test_split_records(sizes: list[int], limit: int) -> None:
    """Answers are split into as few packets of at most 1280 bytes as their order allows, each with the number of
    packets; what is too large for any packet is left out, and what comes after the last one."""
    sprs = [bytes([number]) * size for number, size in enumerate(sizes)]
    fitting = [record for record in sprs if len(record) <= 1150]
    bodies = discv5.split_records(sprs, limit)
    packets = [discv5.decode_records(body).records for body in bodies]
    kept = [record for packet in packets for record in packet]
    assert kept == fitting[: len(kept)]
    assert len(bodies) == limit or len(kept) == len(fitting)
    assert 1 <= len(bodies) <= limit
    following = [packet[0] for packet in packets[1:]] + fitting[len(kept) : len(kept) + 1]
    for body, behind in zip(bodies, following, strict=False):
        assert len(body) + len(behind) + 3 > 1150
    for body in bodies:
        assert len(body) <= 2 + 1150 + 3
        assert discv5.decode_records(body).total == len(bodies)
        assert len(discv5.encode_outer(Kind.NODES, b"12345678", body, True)) <= discv5.MAX_PLAINTEXT
