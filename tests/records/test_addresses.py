"""Multiaddresses and networks: what is none is refused, however it is written."""

from __future__ import annotations

import pytest

from codexdht.entropy import seeded
from codexdht.errors import InvalidParams
from codexdht.identity import PrivateKey
from codexdht.records import endpoint_of, envelope, is_valid_multiaddress, parse_address, sign_record
from codexdht.records.networks import Scope, network_of, scope_of

KEY = PrivateKey.generate(seeded(1))
ADDRESS, TCP = parse_address("/ip4/1.2.3.4/udp/8090"), parse_address("/ip4/1.2.3.4/tcp/8070")
UDP = b"\x91\x02\x00\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x04\x01\x02\x03",
        b"\x04\x01\x02\x03\x04\x91\x02\x00",
        b"\x36\x05host",
        b"\x36\xff\xff\xff\xff\xff\xff",
        b"\x36\xff\xff\xff\xff\x0fhost",
        b"\xff\xff\x03",
        UDP * 33,
        UDP + b"\x00",
    ],
)
def test_bytes_that_are_no_multiaddress(data: bytes) -> None:
    """Nothing, truncated, of a length that is none or beyond the end, of an unknown protocol, too many parts."""
    assert not is_valid_multiaddress(data)
    assert endpoint_of(data) is None


def test_the_longest_multiaddress() -> None:
    """32 parts are walked."""
    assert is_valid_multiaddress(UDP * 32)


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/1.2.3.4/udp/65536",
        "/ip4/::1/udp/1",
        "/ip6/1.2.3.4/udp/1",
        "/ip4/1.2.3/udp/1",
        "/ip4/1.2.3.4/udp/-1",
    ],
)
def test_texts_that_are_no_multiaddress(text: str) -> None:
    """A port that is none, an address of the other version or of too few numbers: the user's mistake."""
    with pytest.raises(InvalidParams, match="is not a multiaddress"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("/ip4/1.2.3.4/udp/0", None),
        ("/ip4/0.0.0.0/udp/1", None),
        ("/ip4/224.0.0.1/udp/1", None),
        ("/ip4/239.255.255.255/udp/1", None),
        ("/ip4/240.0.0.1/udp/1", ("240.0.0.1", 1)),
        ("/ip4/223.255.255.255/udp/1", ("223.255.255.255", 1)),
        ("/ip6/::/udp/1", None),
        ("/ip6/ff02::1/udp/1", None),
        ("/ip6/fe80::1/udp/1", ("fe80::1", 1)),
        ("/ip4/1.2.3.4/tcp/1", None),
        ("/dns4/example.org/udp/1", None),
        ("/ip4/1.2.3.4/udp/65535/quic-v1", ("1.2.3.4", 65535)),
    ],
)
def test_where_datagrams_go(text: str, endpoint: tuple[str, int] | None) -> None:
    """To one host's UDP port: not to all of them, to a group, to port 0, or to a name."""
    assert endpoint_of(parse_address(text)) == endpoint


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("127.0.0.1", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("169.254.1.1", Scope.PRIVATE),
        ("fe80::1", Scope.PRIVATE),
        ("10.1.1.1", Scope.PRIVATE),
        ("fd00::1", Scope.PRIVATE),
        ("9.9.9.9", Scope.PUBLIC),
        ("2a00::1", Scope.PUBLIC),
    ],
)
def test_scopes(host: str, scope: Scope) -> None:
    """Link-local addresses reach no farther than private ones."""
    assert scope_of(host) is scope


def test_networks_of_limits() -> None:
    """A /24 of IPv4 and a /64 of IPv6 count as one; whom the limits leave out counts as nobody."""
    assert (
        network_of("9.9.9.9", "public")
        == network_of("9.9.9.200", "public")
        != network_of("9.9.8.9", "public")
    )
    assert network_of("2a00::1:2:3:4", "public") == network_of("2a00::ffff:2:3:4", "public")
    assert network_of("2a00:0:0:1::1", "public") != network_of("2a00:0:0:2::1", "public")
    assert network_of("10.0.0.1", "public") is network_of("9.9.9.9", "off") is None
    assert network_of("10.0.0.1", "all") == "10.0.0.0/24"


def test_each_byte_of_the_short_way() -> None:
    """Whichever byte of a record is another: what is read by offsets is what protobuf reads."""
    for record in (sign_record(KEY, 0, []), sign_record(KEY, 1_700_000_000, [ADDRESS, TCP])):
        for at, was in enumerate(record.encoded):
            for byte in {0, 1, 0x7F, 0x80, 0xFF, was ^ 1, was ^ 0x80} - {was}:
                attempt = record.encoded[:at] + bytes((byte,)) + record.encoded[at + 1 :]
                read = envelope._read_usual(attempt)
                assert read is None or read == envelope._read_any(attempt)
