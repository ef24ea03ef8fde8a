"""The rows of the load table: what is asked, and how the answers are read. Runs in the load generator's process."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks.floods import HandshakeFlood, Raw, flood, flood_sockets, request_id
from benchmarks.peer import Peer, Target
from benchmarks.sockets import connected
from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.messages.discv5 import (
    AddProvider,
    Kind,
    Outer,
    TalkRequest,
    decode_records,
    decode_talk_response,
    encode_add_provider,
    encode_find_node_fast,
    encode_get_providers,
    encode_ping,
    encode_talk_request,
)

PATIENCE: Final = 1.0
"""Seconds without any answer after which what is outstanding counts as lost."""
ADDS_A_BURST: Final = 31
_BURST_WINDOW: Final = 2
_MANY_KEYS: Final = 2000
_TALK_BYTES: Final = 512
_TABLE_SECONDS: Final = 15.0

Body = Callable[[int], bytes]


class RowError(Exception):
    """The row cannot run; the text says why."""


class Prepared(NamedTuple):
    """A round ready to run. `read` returns the latency of every answered burst of `per_burst` requests."""

    run: Callable[[], Raw]
    read: Callable[[Raw], list[float]]
    per_burst: int = 1


class Load:
    """The measuring side's peers and socket."""

    def __init__(self, target: Target, entropy: Entropy) -> None:
        self.target = target
        self.entropy = entropy
        self.sock = connected(target.address, PATIENCE)
        self.keys = {count: entropy.randbytes(32) for count in (1, 20)}
        self.many_keys: list[bytes] = []

    def peer(self, sock: socket.socket | None = None) -> Peer:
        """Return a new peer with a session."""
        peer = Peer(self.target, self.entropy)
        peer.connect(sock or self.sock)
        return peer

    def ask(self, peer: Peer, kind: int, body: bytes) -> list[Outer]:
        """Return the datagrams that answer one request. Raises RowError when none comes."""
        self.sock.send(peer.seal(kind, b"ask", body))
        try:
            answers = [peer.open(self.sock.recv(2048))]
            if answers[0][0] in (Kind.NODES, Kind.PROVIDERS):
                total = decode_records(answers[0][2]).total
                answers += [peer.open(self.sock.recv(2048)) for _ in range(total - 1)]
        except (BlockingIOError, DecodeError) as error:
            raise RowError(f"no answer to kind 0x{kind:02x}: {error}") from None
        return answers

    def records(self, peer: Peer, kind: int, body: bytes) -> tuple[int, int]:
        """Return how many records answer a request, and in how many datagrams."""
        answers = self.ask(peer, kind, body)
        return sum(len(decode_records(answer[2]).records) for answer in answers), len(answers)

    def provide(self, key: bytes, providers: int) -> None:
        """Put a key's providers into the node, each announced by itself."""
        for _ in range(providers):
            provider = self.peer()
            body = encode_add_provider(AddProvider(key, provider.record.encoded))
            self.sock.send(provider.seal(Kind.ADD_PROVIDER, b"", body))
            self.ask(provider, Kind.PING, encode_ping(1))


def _seal(peer: Peer, kind: int, body: Body, requests: int) -> list[tuple[bytes]]:
    return [(peer.seal(kind, request_id(number), body(number)),) for number in range(requests)]


def _flood(load: Load, peer: Peer, bursts: list[tuple[bytes]], window: int, parts: int = 1) -> Prepared:
    return Prepared(
        lambda: flood(load.sock, bursts, window, parts),
        lambda raw: _latencies(raw, lambda _, data: peer.open(data), parts),
    )


def _latencies(raw: Raw, read: Callable[[int, bytes], Outer], parts: int = 1) -> list[float]:
    """Return the seconds from a request to the last datagram of its answer, for each whole answer that decrypts."""
    seen: Counter[int] = Counter()
    latencies: list[float] = []
    for at, index, data in raw.received:
        try:
            _, answered_id, _, _ = read(index, data)
        except DecodeError:
            continue
        number = int.from_bytes(answered_id, "big")
        seen[number] += 1
        if seen[number] == parts and number < len(raw.sent):
            latencies.append(at - raw.sent[number])
    return latencies


def ping(load: Load, requests: int, window: int) -> Prepared:
    """PING."""
    peer = load.peer()
    body = encode_ping(peer.record.seq)
    return _flood(load, peer, _seal(peer, Kind.PING, lambda _: body, requests), window)


def find_node_fast(load: Load, requests: int, window: int) -> Prepared:
    """FIND_NODE_FAST of random targets, answered by the six nearest records."""
    peer = load.peer()
    end = time.monotonic() + _TABLE_SECONDS
    while (found := load.records(peer, Kind.FIND_NODE_FAST, encode_find_node_fast(bytes(32))))[0] < 6:
        if time.monotonic() > end:
            raise RowError(f"the node's table gives {found[0]} records, not 6")
        time.sleep(0.1)
    random = load.entropy.randbytes
    bursts = _seal(peer, Kind.FIND_NODE_FAST, lambda _: encode_find_node_fast(random(32)), requests)
    return _flood(load, peer, bursts, window, found[1])


def get_providers(providers: int) -> Callable[[Load, int, int], Prepared]:
    """GET_PROVIDERS of one key that has so many."""

    def prepare(load: Load, requests: int, window: int) -> Prepared:
        peer = load.peer()
        body = encode_get_providers(load.keys[providers])
        if load.records(peer, Kind.GET_PROVIDERS, body)[0] == 0:
            load.provide(load.keys[providers], providers)
        found, parts = _settled(load, peer, body, providers)
        if found != providers:
            raise RowError(f"the node gives {found} providers, not {providers}")
        return _flood(load, peer, _seal(peer, Kind.GET_PROVIDERS, lambda _: body, requests), window, parts)

    return prepare


def _settled(load: Load, peer: Peer, body: bytes, providers: int) -> tuple[int, int]:
    """Ask until the providers are there."""
    for _ in range(20):
        found = load.records(peer, Kind.GET_PROVIDERS, body)
        if found[0] == providers:
            break
        time.sleep(0.05)
    return found


def get_providers_many_keys(load: Load, requests: int, window: int) -> Prepared:
    """GET_PROVIDERS of many keys in turn, one provider each: more keys than the node keeps encoded answers of."""
    peer = load.peer()
    if not load.many_keys:
        load.many_keys = [load.entropy.randbytes(32) for _ in range(_MANY_KEYS)]
        for key in load.many_keys:
            body = encode_add_provider(AddProvider(key, peer.record.encoded))
            load.sock.send(peer.seal(Kind.ADD_PROVIDER, b"", body))
            load.records(peer, Kind.GET_PROVIDERS, encode_get_providers(key))
    bodies = [encode_get_providers(key) for key in load.many_keys]
    bursts = _seal(peer, Kind.GET_PROVIDERS, lambda number: bodies[number % _MANY_KEYS], requests)
    return _flood(load, peer, bursts, window)


def add_provider(load: Load, requests: int, window: int) -> Prepared:
    """ADD_PROVIDER of distinct keys.

    It has no answer. A burst of 31 is followed by a GET_PROVIDERS of the last key: its answer tells that the store has
    come so far, and brings the next burst. The latency is that of a burst.
    """
    del window
    peer = load.peer()

    def burst(number: int) -> list[bytes]:
        keys = [load.entropy.randbytes(32) for _ in range(ADDS_A_BURST)]
        adds = [encode_add_provider(AddProvider(key, peer.record.encoded)) for key in keys]
        marker = peer.seal(Kind.GET_PROVIDERS, request_id(number), encode_get_providers(keys[-1]))
        return [*(peer.seal(Kind.ADD_PROVIDER, b"", add) for add in adds), marker]

    bursts = [burst(number) for number in range(requests // ADDS_A_BURST)]
    return Prepared(
        lambda: flood(load.sock, bursts, _BURST_WINDOW, 1),
        lambda raw: _latencies(raw, lambda _, data: peer.open(data)),
        ADDS_A_BURST,
    )


def talk_req(load: Load, requests: int, window: int) -> Prepared:
    """TALK_REQ of the protocol echo, 512 bytes."""
    peer = load.peer()
    request = load.entropy.randbytes(_TALK_BYTES)
    body = encode_talk_request(TalkRequest(b"echo", request))
    if decode_talk_response(load.ask(peer, Kind.TALK_REQ, body)[0][2]) != request:
        raise RowError("the node does not serve the protocol echo")
    return _flood(load, peer, _seal(peer, Kind.TALK_REQ, lambda _: body, requests), window)


def handshake(load: Load, requests: int, window: int) -> Prepared:
    """Handshake and PING, each of a new peer."""
    socks = [connected(load.target.address, PATIENCE) for _ in range(window)]
    peers = [Peer(load.target, load.entropy) for _ in range(requests)]
    handshakes = HandshakeFlood(socks, peers, PATIENCE)
    return Prepared(
        handshakes.run, lambda raw: _latencies(raw, lambda number, data: peers[number].open(data))
    )


def ping_many_peers(count: int) -> Callable[[Load, int, int], Prepared]:
    """PING from so many peers in turn, each with a socket and a session."""

    def prepare(load: Load, requests: int, window: int) -> Prepared:
        socks = [connected(load.target.address, PATIENCE) for _ in range(count)]
        peers = [load.peer(sock) for sock in socks]
        packets = [
            (number % count, peers[number % count].seal(Kind.PING, request_id(number), encode_ping(1)))
            for number in range(requests)
        ]
        return Prepared(
            lambda: flood_sockets(socks, packets, window, PATIENCE),
            lambda raw: _latencies(raw, lambda number, data: peers[number].open(data)),
        )

    return prepare


class Row(NamedTuple):
    """One row: requests a round, how many outstanding, what it does, and whether the records stored are counted."""

    requests: int
    window: int
    prepare: Callable[[Load, int, int], Prepared]
    about: str
    stores: bool = False


ROWS: Final[dict[str, Row]] = {
    "ping": Row(80_000, 64, ping, "PING"),
    "find_node_fast": Row(40_000, 64, find_node_fast, "FIND_NODE_FAST, 6 records"),
    "get_providers_1": Row(50_000, 64, get_providers(1), "GET_PROVIDERS, 1 provider"),
    "get_providers_20": Row(20_000, 64, get_providers(20), "GET_PROVIDERS, 20 providers"),
    "talk_req": Row(60_000, 64, talk_req, "TALK_REQ, echo of 512 bytes"),
    "add_provider": Row(31_000, 64, add_provider, "ADD_PROVIDER, distinct keys, on disk", stores=True),
    "handshake": Row(5_000, 64, handshake, "handshake + PING, new peers, 64 at a time"),
    "ping_300_peers": Row(60_000, 64, ping_many_peers(300), "PING from 300 peers in turn"),
    "ping_one_at_a_time": Row(8_000, 1, ping, "PING, one at a time"),
    "get_providers_1_one_at_a_time": Row(
        6_000, 1, get_providers(1), "GET_PROVIDERS, 1 provider, one at a time"
    ),
    "get_providers_many_keys": Row(50_000, 64, get_providers_many_keys, "GET_PROVIDERS, 2000 keys in turn"),
    "handshake_one_at_a_time": Row(2_000, 1, handshake, "handshake + PING, one new peer after the other"),
}
"""In the order in which they run: handshakes fill the node's table of sessions, announcements its store."""
