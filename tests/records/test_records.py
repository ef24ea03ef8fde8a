"""Signed peer records: round trips, verification of every byte, and their cache."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.errors import DecodeError, InvalidRecord
from codexdht.identity import PrivateKey
from codexdht.records import (
    RecordCache,
    decode_record,
    envelope,
    largest_record,
    multiaddress,
    multiaddress_of_endpoint,
    parse_address,
    record_from_uri,
    sign_record,
)

KEY = PrivateKey.generate(seeded(1))
ADDRESS = parse_address("/ip4/1.2.3.4/udp/8090")
TCP = parse_address("/ip4/1.2.3.4/tcp/8070")
RECORD = sign_record(KEY, 1_700_000_000, [ADDRESS])

endpoints = st.tuples(
    st.ip_addresses().filter(lambda ip: not ip.is_multicast and int(ip)), st.integers(1, 65535)
)


@given(st.integers(0, 2**64 - 1), st.lists(endpoints, max_size=4))
def test_round_trip(seq: int, hosts: list[tuple[object, int]]) -> None:
    """A signed record decodes to what was signed; its endpoint is its first UDP address."""
    texts = [f"/ip{getattr(ip, 'version', 4)}/{ip}/udp/{port}" for ip, port in hosts]
    addresses = [parse_address(text) for text in texts]
    signed = sign_record(KEY, seq, addresses)
    read = decode_record(signed.encoded)
    assert (read.seq, list(read.addresses), read.node_id) == (seq, addresses, RECORD.node_id)
    assert read.endpoint == (None if not hosts else (str(hosts[0][0]), hosts[0][1]))
    assert record_from_uri(read.uri) == read


@given(st.integers(0, 2**64 - 1), st.lists(endpoints, max_size=40))
def test_no_record_is_larger_than_foretold(seq: int, hosts: list[tuple[object, int]]) -> None:
    """Whatever its seq; and the figure is no more than what a seq and a signature may take less."""
    addresses = [multiaddress_of_endpoint((str(host), port)) for host, port in hosts]
    size = len(sign_record(KEY, seq, addresses).encoded)
    assert size <= largest_record(addresses) <= size + 16


@given(st.integers(0, len(RECORD.encoded) - 1), st.integers(1, 255))
def test_every_byte_counts(at: int, flip: int) -> None:
    """A record with any byte changed is refused."""
    data = bytearray(RECORD.encoded)
    data[at] ^= flip
    with pytest.raises(DecodeError):
        decode_record(bytes(data))


@given(st.binary(max_size=250))
def test_no_bytes_raise_but_decode_error(data: bytes) -> None:
    """Any bytes are refused with DecodeError, beside a record's own bytes, too, unless they are an unknown field."""
    for attempt in (data, RECORD.encoded[:-20] + data, data + RECORD.encoded):
        try:
            record = decode_record(attempt)
        except DecodeError:
            continue
        assert record.node_id == RECORD.node_id


@given(st.text(max_size=60))
def test_text_form_is_strict(text: str) -> None:
    """Any other text than a record's is refused with a message for its user."""
    for attempt in (text, "spr:" + text, RECORD.uri + "=" + text):
        with pytest.raises(InvalidRecord):
            record_from_uri(attempt)


@given(st.integers(0, len(RECORD.encoded) - 1), st.integers(0, 255), st.integers(0, 250))
def test_short_way_agrees_with_protobuf(at: int, byte: int, length: int) -> None:
    """What is read by offsets says what protobuf says, also when a byte is another or the end is missing."""
    for record in (RECORD, sign_record(KEY, 0, []), sign_record(KEY, 7, [ADDRESS, TCP, ADDRESS])):
        data = bytearray(record.encoded)
        assert envelope._read_usual(bytes(data)) == envelope._read_any(bytes(data))
        data[at % len(data)] = byte
        for attempt in (
            bytes(data),
            bytes(data[:length]),
            record.encoded[:length],
            record.encoded + bytes(data),
        ):
            read = envelope._read_usual(attempt)
            assert read is None or read == envelope._read_any(attempt)


@given(st.sampled_from([ADDRESS, TCP, RECORD.encoded]), st.integers(0, 9), st.binary(max_size=3))
def test_plain_addresses_are_read_as_walked(address: bytes, at: int, change: bytes) -> None:
    """The short way for /ip4/…/udp|tcp/… finds what the walk over the parts finds, whatever bytes are changed."""
    for attempt in (address, address[:at] + change + address[at + len(change) :], address[:at] + change):
        assert multiaddress._parts(attempt) == multiaddress._walk(attempt)


def test_cache_checks_once() -> None:
    """The same bytes are verified once while they are in the cache; bad bytes are never kept."""
    cache = RecordCache(2)
    others = [sign_record(KEY, seq, [ADDRESS]).encoded for seq in range(3)]
    assert cache.decode(others[0]) is cache.decode(others[0])
    assert cache.checks == 1
    for encoded in others:
        cache.decode(encoded)
    assert (len(cache), cache.checks) == (2, 3)
    with pytest.raises(DecodeError):
        cache.decode(b"rubbish")
    assert len(cache) == 2
    cache.decode(others[0])
    assert cache.checks == 5


def test_cache_keeps_what_is_used() -> None:
    """The record that was asked for longest ago leaves; what another process has verified is not checked again."""
    cache = RecordCache(2)
    first, second, third = (sign_record(KEY, seq, [ADDRESS]).encoded for seq in range(3))
    for encoded in (first, second, first, third):
        cache.decode(encoded, verified=True)
    assert cache.checks == 0
    cache.decode(first)
    cache.decode(third)
    assert cache.checks == 0
    cache.decode(second)
    assert cache.checks == 1


@pytest.mark.parametrize(
    ("versions", "endpoint"),
    [
        ({4, 6}, ("1.2.3.4", 8090)),
        ({4}, ("1.2.3.4", 8090)),
        ({6}, ("2a00::1", 9)),
        (set(), None),
    ],
)
def test_an_endpoint_is_one_that_the_node_has_a_socket_for(
    versions: set[int], endpoint: tuple[str, int] | None
) -> None:
    """The first address of an IP version that the node can send to; the record is the same to everybody else."""
    record = sign_record(KEY, 1, [TCP, ADDRESS, parse_address("/ip6/2a00::1/udp/9")])
    cache = RecordCache(10)
    for own in (cache.shared(frozenset(versions)), RecordCache(10, frozenset(versions))):
        for _ in range(2):
            read = own.decode(record.encoded)
            assert (read, read.endpoint, read.addresses) == (record, endpoint, record.addresses)
    assert cache.decode(record.encoded).endpoint == ("1.2.3.4", 8090)
    assert len(cache) == 1


@pytest.mark.parametrize("padding", [b"", b"\x7a\x80\x20" + bytes(4096)])
def test_huge_records_are_refused(padding: bytes) -> None:
    """A record over 4096 bytes is refused, whatever fills it: the largest that fits into a packet took 0.1 s to read
    and 440 kB to keep, and each of thousands of peers may send some."""
    record = sign_record(KEY, 1, [ADDRESS] * (1 if padding else 400))
    with pytest.raises(DecodeError, match="bad record size"):
        decode_record(record.encoded + padding)


def test_many_addresses() -> None:
    """Of a record with hundreds of addresses the first 64 are read; it still holds, and so does its endpoint."""
    record = decode_record(sign_record(KEY, 1, [ADDRESS, *[b"\xa2\x02"] * 300]).encoded)
    assert len(record.addresses) == 64
    assert record.endpoint == ("1.2.3.4", 8090)
