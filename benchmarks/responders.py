"""A process of light peers that know each other: they answer PING and FIND_NODE_FAST, so a node has somebody in its
routing table, and its lookups find what they would in a small network."""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType

from codexdht.entropy import SystemEntropy
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import Kind, decode_find_node_fast, encode_records
from codexdht.messages.internal import Actor, ClockSet, LocalRecords, Open, PeerReply, PeerRequest
from codexdht.records import Endpoint, record_to_uri
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings

_LISTEN = "/ip4/127.0.0.1/udp/0"
_ANSWER = 6


class _Later:
    """Sends datagrams after a delay: none, or one that makes this a process of slow peers."""

    def __init__(self) -> None:
        self.delay = 0.0
        self._count = 0
        self._waiting: list[tuple[float, int, socket.socket, bytes, Endpoint]] = []

    def send(self, now: float, sock: socket.socket, data: bytes, address: Endpoint) -> None:
        """Have a datagram sent when the delay is over."""
        if not self.delay:
            sock.sendto(data, address)
            return
        self._count += 1
        heapq.heappush(self._waiting, (now + self.delay, self._count, sock, data, address))

    def flush(self, now: float) -> float | None:
        """Send what is due; return the seconds until the next is, or None."""
        while self._waiting and self._waiting[0][0] <= now:
            _, _, sock, data, address = heapq.heappop(self._waiting)
            sock.sendto(data, address)
        return self._waiting[0][0] - now if self._waiting else None


class _Responder:
    """A wire machine with a socket, and the records of all by node id, as numbers. Requests for providers get an empty
    answer."""

    def __init__(self, later: _Later, others: dict[int, bytes]) -> None:
        self._later = later
        self._others = others
        entropy = SystemEntropy()
        settings = WireSettings(listen=[_LISTEN])
        self.machine = WireMachine(PrivateKey.generate(entropy), LocalState(), settings, entropy)
        self.record = b""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        now = time.monotonic()
        self.machine.handle(ClockSet(time.time() - now), now)
        self.machine.boot(now)
        self.machine.handle(Open(Actor.API, 1, now + 60.0), now)
        self.machine.socket_bound([self.sock.getsockname()], now)
        self.flush(now)

    def take(self) -> None:
        """Take one datagram and answer it."""
        data, address = self.sock.recvfrom(65_507)
        now = time.monotonic()
        self.machine.receive_datagram(data, address, now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Answer what is for other actors, and send."""
        for _, messages in self.machine.outbox.take():
            for message in messages:
                if isinstance(message, PeerRequest):
                    self.machine.handle(self._reply(message), now)
                elif isinstance(message, LocalRecords):
                    self.record = message.record
        for data, address in self.machine.datagrams:
            self._later.send(now, self.sock, data, address)
        self.machine.datagrams.clear()
        self.machine.outbox.take()

    def _reply(self, request: PeerRequest) -> PeerReply:
        kind = Kind.PROVIDERS if request.kind == Kind.GET_PROVIDERS else Kind.NODES
        named = self._nearest(request.body) if request.kind == Kind.FIND_NODE_FAST else []
        body = encode_records(1, named)
        return PeerReply(request.node_id, request.host, request.port, request.request_id, kind, [body])

    def _nearest(self, body: bytes) -> list[bytes]:
        target = int.from_bytes(decode_find_node_fast(body), "big")
        own = int.from_bytes(self.machine.node_id, "big")
        nearest = sorted((number for number in self._others if number != own), key=lambda n: n ^ target)
        return [self._others[number] for number in nearest[:_ANSWER]]


def _serve(pipe: Connection, count: int) -> None:
    later = _Later()
    known: dict[int, bytes] = {}
    responders = [_Responder(later, known) for _ in range(count)]
    known |= {int.from_bytes(made.machine.node_id, "big"): made.record for made in responders}
    pipe.send([record_to_uri(responder.record) for responder in responders])
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ, None)
        for responder in responders:
            selector.register(responder.sock, selectors.EVENT_READ, responder)
        while True:
            for key, _ in selector.select(later.flush(time.monotonic())):
                if key.data is None:
                    later.delay = pipe.recv()
                else:
                    key.data.take()


class Responders:
    """So many light peers in a process of their own; `records` holds the texts of their records."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, count), daemon=True)
        self._process.start()
        theirs.close()
        self.records: list[str] = self._pipe.recv()

    def slow_down(self, seconds: float) -> None:
        """Let them answer so much later from now on."""
        self._pipe.send(seconds)

    def __enter__(self) -> Responders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()
