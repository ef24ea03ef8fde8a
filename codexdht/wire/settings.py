"""Settings of the wire actor: section [wire] of the configuration. Defaults are those of behaviour.md."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Rate = Annotated[float, Meta(gt=0, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


class WireSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node listens, what it announces, and the bound of every table of the wire actor."""

    processes: Annotated[int, Meta(ge=1, le=8)] = 1
    """Processes that serve the UDP port, for machines with cores to spare; every peer belongs to one of them, and the
    bounds of the tables below hold for each. It takes Linux, and a supervisord that is started with
    CODEXDHT_WIRE__PROCESSES in its environment (`codexdht up` and `new_protocol` see to that)."""
    listen: Annotated[list[str], Meta(min_length=1, max_length=8)] = field(
        default_factory=lambda: ["/ip4/0.0.0.0/udp/8090"]
    )
    """Multiaddresses to bind: /ip4|ip6/…/udp/port. Port 0 takes any free port."""
    announce: Literal["auto"] | list[str] = "auto"
    """Multiaddresses of the DHT record; a UDP port of 0 stands for the bound port. "auto" begins with the listen
    addresses, if they name a host, and follows the majority of peers after that."""
    client_mode: bool = False
    """Tell every peer that this node wants answers, but no place in routing tables."""
    talk_echo: bool = True
    """Answer TALK_REQ of the protocol "echo" with the request itself."""
    send_together: bool = True
    """Hand the kernel what leaves for one peer at once, where it can cut that into datagrams (Linux). To be turned off
    where a network card loses them: peers would miss answers of several packets."""

    sessions: Count = 4096
    """Sessions kept; the least recently used leaves."""
    session_packets: Annotated[int, Meta(ge=2, le=4_000_000_000)] = 4_000_000_000
    """Packets sealed with one key before the session is renewed; what is sent in the same turn may go beyond. The
    counter has 32 bits."""
    identities: Count = 16384
    """Peers whose record is remembered, so that they need not send it again; 0.6 kB each."""
    records: Count = 1024
    """Verified records kept by their bytes."""
    challenges: Count = 4096
    """Challenges (WHOAREYOU) open at a time; newcomers are refused at the limit."""
    challenge_seconds: Seconds = 1.0
    """Lifetime of a challenge."""
    challenge_resends: Annotated[int, Meta(ge=0, le=100)] = 3
    """How often an open challenge is sent again to a peer that sends more unreadable packets."""
    calls: Count = 4096
    """Requests to peers in flight, waiting ones included; "busy" beyond."""
    calls_waiting: Count = 64
    """Requests that wait behind one handshake; "busy" beyond."""
    call_seconds: Seconds = 1.0
    """Time for the answer to a request, and for each following packet of the answer."""
    answer_packets: Annotated[int, Meta(ge=1, le=256)] = 16
    """Packets taken of one answer."""

    ip_limits: Literal["public", "all", "off"] = "public"
    """Whom the limits below concern: public addresses, everybody, or nobody."""
    sources: Count = 8192
    """Addresses (IPv4 hosts, IPv6 /64 networks) whose packets are counted."""
    source_rate: Rate = 50.0
    """Packets per second from one address without a session."""
    source_burst: Rate = 100.0
    """Packets at once from one address without a session."""
    session_rate: Rate = 500.0
    """Packets per second from one address, from endpoints that have a session."""
    session_burst: Rate = 1000.0
    """Packets at once from one address, from endpoints that have a session."""
    strangers_rate: Rate = 2000.0
    """Packets per second from all endpoints without a session together."""
    strangers_burst: Rate = 4000.0
    """Packets at once from all endpoints without a session together."""
    whoareyou_rate: Rate = 5.0
    """WHOAREYOU packets per second to one address, and at once."""
    bad_packets: Count = 100
    """An address that sends as many malformed or undecryptable packets …"""
    bad_seconds: Seconds = 10.0
    """… within this time …"""
    ignore_seconds: Seconds = 60.0
    """… is ignored for so long."""
