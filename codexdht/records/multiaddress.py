"""Binary multiaddresses, as far as the DHT reads them (github.com/multiformats/multiaddr).

A record decodes only if one of its addresses does, so every record's addresses are walked; that walk is here,
over the table of protocol sizes. Text is made and read by the `multiaddr` library, at the edges only, and there only
for what is not plain host and port: the library costs a process 3 MB, and 59 us an address.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from codexdht.errors import InvalidParams
from codexdht.identity.encoding import read_uvarint

Endpoint = tuple[str, int]
"""Host in canonical text form, and UDP port (1 to 65535)."""

IpVersions = frozenset[int]
"""4, 6, or both: of what kind of addresses a node has sockets."""

ALL_VERSIONS: IpVersions = frozenset((4, 6))

_IP4, _TCP, _IP6, _UDP = 4, 6, 41, 273
_VARIABLE = -1
_LONGEST = 5
"""Bytes of a protocol code or a length."""
_SIZES = {
    _IP4: 4,
    _TCP: 2,
    33: 2,  # dccp
    _IP6: 16,
    42: _VARIABLE,  # ip6zone
    53: _VARIABLE,  # dns
    54: _VARIABLE,  # dns4
    55: _VARIABLE,  # dns6
    56: _VARIABLE,  # dnsaddr
    132: 2,  # sctp
    _UDP: 2,
    275: 0,  # p2p-webrtc-star
    277: 0,  # p2p-webrtc-direct
    280: 0,  # webrtc-direct
    281: 0,  # webrtc
    290: 0,  # p2p-circuit
    301: 0,  # udt
    302: 0,  # utp
    400: _VARIABLE,  # unix
    421: _VARIABLE,  # p2p
    443: 0,  # https
    444: 12,  # onion
    445: 37,  # onion3
    448: 0,  # tls
    449: _VARIABLE,  # sni
    454: 0,  # noise
    460: 0,  # quic
    461: 0,  # quic-v1
    465: 0,  # webtransport
    466: _VARIABLE,  # certhash
    477: 0,  # ws
    478: 0,  # wss
    480: 0,  # http
    481: _VARIABLE,  # http-path
}
_MAX_PARTS = 32
_HOST_PREFIX = {4: b"\x04", 6: b"\x29"}
_PORT_PREFIX = {"udp": b"\x91\x02", "tcp": b"\x06"}
_TRANSPORTS = {_PORT_PREFIX["udp"]: _UDP, _PORT_PREFIX["tcp"]: _TCP}


def _parts(data: bytes) -> list[tuple[int, bytes]] | None:
    """Return the (protocol code, value) pairs of a multiaddress, or None if it is not one.

    Nearly all are /ip4/host/udp|tcp/port; these need no walk, which takes 3 us.
    """
    transport = _TRANSPORTS.get(data[5:-2]) if data[:1] == _HOST_PREFIX[4] else None
    return _walk(data) if transport is None else [(_IP4, data[1:5]), (transport, data[-2:])]


def _walk(data: bytes) -> list[tuple[int, bytes]] | None:
    parts: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data) and len(parts) < _MAX_PARTS:
        code, at = read_uvarint(data, at, _LONGEST)
        size = _SIZES.get(code)
        if size is None:
            return None
        if size == _VARIABLE:
            size, at = read_uvarint(data, at, _LONGEST)
        value = data[at : at + size]
        at += size
        if len(value) != size:
            return None
        parts.append((code, value))
    return parts if parts and at == len(data) else None


def is_valid_multiaddress(data: bytes) -> bool:
    """Tell whether binary data is a multiaddress of known protocols."""
    return _parts(data) is not None


def endpoint_of(data: bytes) -> Endpoint | None:
    """Return where a datagram for this binary multiaddress goes: /ip4|ip6/…/udp/…, else None.

    Port 0, unspecified and multicast addresses are no endpoints.
    """
    parts = _parts(data)
    if parts is None or len(parts) < 2 or parts[1][0] != _UDP:
        return None
    (code, host), (_, port) = parts[:2]
    number = int.from_bytes(port, "big")
    if number == 0 or not _is_unicast(code, host):
        return None
    return _host_text(code, host), number


def ip_version(endpoint: Endpoint) -> int:
    """Return 4 or 6."""
    return 6 if ":" in endpoint[0] else 4


def _is_unicast(code: int, host: bytes) -> bool:
    if code == _IP4:
        return host != b"\0\0\0\0" and (host[0] < 224 or host[0] >= 240)
    return code == _IP6 and any(host) and host[0] != 0xFF


def _host_text(code: int, host: bytes) -> str:
    return "{}.{}.{}.{}".format(*host) if code == _IP4 else str(IPv6Address(host))


def multiaddress_of_endpoint(endpoint: Endpoint) -> bytes:
    """Return the binary /ip4|ip6/host/udp/port. Raises InvalidParams when the host is not an IP address."""
    host, port = endpoint
    try:
        ip = ip_address(host)
    except ValueError:
        raise InvalidParams(f"{host!r} is not an IP address") from None
    return _HOST_PREFIX[ip.version] + ip.packed + _PORT_PREFIX["udp"] + port.to_bytes(2, "big")


def parse_address(text: str) -> bytes:
    """Return the binary form of a multiaddress text. Raises InvalidParams when it is none."""
    plain = _plain(text)
    if plain is not None:
        return plain
    import multiaddr

    try:
        data: bytes = multiaddr.Multiaddr(text).to_bytes()
    except (ValueError, multiaddr.exceptions.Error):
        raise InvalidParams(f"{text!r} is not a multiaddress such as /ip4/1.2.3.4/udp/8090") from None
    return data


def _plain(text: str) -> bytes | None:
    """Return the binary form of /ip4|ip6/host/udp|tcp/port, or None for any other text."""
    match text.split("/"):
        case ["", "ip4" | "ip6" as family, host, "udp" | "tcp" as transport, port] if port.isdecimal():
            number = int(port)
        case _:
            return None
    try:
        ip = ip_address(host)
    except ValueError:
        return None
    if number > 65_535 or ip.version != int(family[2]):
        return None
    return _HOST_PREFIX[ip.version] + ip.packed + _PORT_PREFIX[transport] + number.to_bytes(2, "big")


def address_text(data: bytes) -> str:
    """Return the text of a binary multiaddress, or its hex where the library does not know a protocol in it."""
    match _parts(data):
        case [(4 | 41 as code, host), (6 | 273 as transport, port)]:
            family, name = ("ip4" if code == _IP4 else "ip6"), ("udp" if transport == _UDP else "tcp")
            return f"/{family}/{_host_text(code, host)}/{name}/{int.from_bytes(port, 'big')}"
    import multiaddr

    try:
        return str(multiaddr.Multiaddr(data))
    except (ValueError, LookupError, multiaddr.exceptions.Error):
        return "0x" + data.hex()
