"""A wire machine without packets' bytes and without cryptography, for networks of thousands of nodes.

It takes and gives the same internal messages as `wire.WireMachine`, and the same datagrams at the same moments: a knock
(random packet), WHOAREYOU, a handshake that carries the request, ordinary messages. So latencies, losses and
timeouts are those of the real one; a contract test compares the two. What it lacks: rate limits, checks of anything but
records, TALK_REQ.

    knock      03 || source id (32) || nonce (8)
    WHOAREYOU  01 || source id || nonce || seq (8) that the sender of the knock is known by
    handshake  02 || source id || size (2) || record || message
    ordinary   00 || source id || message
    message    client mode (1) || kind (1) || request id (8) || body
"""

from __future__ import annotations

from functools import cache
from heapq import heappop, heappush
from typing import Final

from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey, node_id_of_public_key
from codexdht.messages.discv5 import (
    RESPONSE_KINDS,
    RESPONSE_TO,
    Kind,
    Pong,
    encode_pong,
    records_total,
)
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    CallSent,
    Done,
    Message,
    PeerReply,
    PeerRequest,
    PeerSeen,
    Stats,
)
from codexdht.records import Endpoint, RecordCache
from codexdht.wire.identities import Identities
from codexdht.wire.local import LocalState
from codexdht.wire.presence import Presence
from codexdht.wire.settings import WireSettings

_ROUTING: Final = Actor.ROUTING
_PING: Final = int(Kind.PING)
_PONG: Final = int(Kind.PONG)
_ORDINARY: Final = 0
_WHOAREYOU: Final = 1
_HANDSHAKE: Final = 2
_KNOCK: Final = 3
_ID_END: Final = 33
_HEAD: Final = 10
_FORWARD_TO: Final = {
    int(Kind.FIND_NODE): Actor.ROUTING,
    int(Kind.FIND_NODE_FAST): Actor.ROUTING,
    int(Kind.ADD_PROVIDER): Actor.STORE,
    int(Kind.GET_PROVIDERS): Actor.STORE,
}
_SEVERAL: Final = (int(Kind.NODES), int(Kind.PROVIDERS))
_Peer = tuple[bytes, Endpoint]


@cache
def _shared(peer: _Peer) -> _Peer:
    """Return the one copy of a peer that all machines of a simulation keep: they have millions of sessions."""
    return peer


class _Pending:
    """A call: `sent` is when its message left (None while it waits for a session), `left` how many packets of the
    answer are to come (None before the first)."""

    __slots__ = ("call", "deadline", "expects", "left", "message", "peer", "request_id", "sent")

    def __init__(self, call: Call, request_id: bytes, message: bytes, deadline: float) -> None:
        self.call = call.call
        self.peer: _Peer = (call.node_id, (call.host, call.port))
        self.expects = RESPONSE_TO.get(call.kind)
        self.request_id = request_id
        self.message = message
        self.deadline = deadline
        self.sent: float | None = None
        self.left: int | None = None


class FastWire(Presence):
    """See the module. Invariant: a pending call is in `_pending`, and in `_waiting` of its peer as long as it is not
    sent; `_deadlines` holds each at least once. `_sessions` holds the client mode of each peer with a session."""

    def __init__(
        self, key: PrivateKey, state: LocalState, settings: WireSettings, records: RecordCache
    ) -> None:
        super().__init__(key, state, settings)
        self.datagrams: list[tuple[bytes, Endpoint]] = []
        self.node_id = node_id_of_public_key(key.public_key)
        self._heads = [bytes((flag,)) + self.node_id for flag in range(4)]
        self._records = records
        self._sessions: dict[_Peer, bool] = {}
        self._identities = Identities(settings.identities)
        self._pending: dict[bytes, _Pending] = {}
        self._waiting: dict[_Peer, list[_Pending]] = {}
        self._deadlines: list[tuple[float, int, _Pending]] = []
        self._number = 0
        self._mode = bytes((int(settings.client_mode),))
        self._handlers |= {Call: self._call, PeerReply: self._reply, Stats: self._stats}

    def assume_session(self, peer: _Peer) -> None:
        """Have a session with a peer who has one with us."""
        self._sessions.setdefault(peer, False)

    # Calls ------------------------------------------------------------------------------------------------------

    def _call(self, call: Call, now: float) -> None:
        if self._bound is None:
            self.outbox.send(Actor.ROUTING, CallFailed(call.call, "closed"))
            return
        self._number += 1
        request_id = self._number.to_bytes(8, "big")
        message = self._mode + bytes((call.kind,)) + request_id + call.body
        deadline = min(call.deadline, now + self._settings.call_seconds)
        pending = _Pending(call, request_id, message, deadline)
        self._pending[request_id] = pending
        heappush(self._deadlines, (deadline, self._number, pending))
        if pending.peer in self._sessions:
            self._send(_ORDINARY, pending.message, pending.peer[1])
            self._sent(pending, now)
        else:
            self._wait(pending)

    def _wait(self, pending: _Pending) -> None:
        waiting = self._waiting.setdefault(pending.peer, [])
        waiting.append(pending)
        if len(waiting) == 1:
            self._send(_KNOCK, pending.request_id, pending.peer[1])

    def _send(self, flag: int, rest: bytes, address: Endpoint) -> None:
        self.datagrams.append((self._heads[flag] + rest, address))

    def _sent(self, pending: _Pending, now: float) -> None:
        if pending.expects is None:
            self.outbox.send(_ROUTING, CallSent(pending.call))
            del self._pending[pending.request_id]
        pending.sent = now

    def _make_session(self, peer: _Peer, client_mode: bool) -> None:
        """Remember a session; at the limit the oldest leaves."""
        self._sessions[_shared(peer)] = client_mode
        if len(self._sessions) > self._settings.sessions:
            del self._sessions[next(iter(self._sessions))]

    def _session_made(self, peer: _Peer, now: float) -> None:
        for pending in self._waiting.pop(peer, ()):
            if pending.request_id in self._pending and pending.sent is None:
                self._send(_ORDINARY, pending.message, peer[1])
                self._sent(pending, now)

    def _whoareyou(self, source: bytes, data: bytes, address: Endpoint, now: float) -> None:
        pending = self._pending.get(data[_ID_END : _ID_END + 8])
        if pending is None or pending.peer != (source, address):
            self.counters["whoareyou_unexpected"] += 1
            return
        own = self._local.record
        is_known = int.from_bytes(data[_ID_END + 8 : _ID_END + 16], "big") >= own.seq
        record = b"" if is_known else own.encoded
        self._send(_HANDSHAKE, len(record).to_bytes(2, "big") + record + pending.message, address)
        self._make_session(pending.peer, False)
        self._sent(pending, now)
        self._session_made(pending.peer, now)

    def _answer(self, peer: _Peer, message: bytes, now: float) -> None:
        kind = message[1]
        pending = self._pending.get(message[2:_HEAD])
        if pending is None or pending.peer != peer or pending.expects != kind:
            self.counters["response_unmatched"] += 1
            return
        body = message[_HEAD:]
        if kind in _SEVERAL:
            self._count_packet(pending, body, now)
        else:
            del self._pending[pending.request_id]
        answer = CallAnswer(pending.call, kind, body, now - (pending.sent or 0.0), bool(message[0]))
        self.outbox.send(_ROUTING, answer)

    def _count_packet(self, pending: _Pending, body: bytes, now: float) -> None:
        if pending.left is None:
            pending.left = max(1, min(records_total(body), self._settings.answer_packets))
        pending.left -= 1
        if pending.left:
            pending.deadline = now + self._settings.call_seconds
            self._number += 1
            heappush(self._deadlines, (pending.deadline, self._number, pending))
        else:
            del self._pending[pending.request_id]

    def tick(self, now: float) -> None:
        """Fail what has waited too long, with all that waits for the same session."""
        while self._deadlines and self._deadlines[0][0] <= now:
            pending = heappop(self._deadlines)[2]
            if pending.request_id in self._pending and pending.deadline <= now:
                late = self._waiting.pop(pending.peer, []) if pending.sent is None else [pending]
                for each in late:
                    if self._pending.pop(each.request_id, None) is not None:
                        self.counters["calls_timed_out"] += 1
                        self.outbox.send(_ROUTING, CallFailed(each.call, "timeout"))

    def deadline(self) -> float | None:
        """As in Machine."""
        heap = self._deadlines
        while heap and heap[0][2].request_id not in self._pending:
            heappop(heap)
        return heap[0][0] if heap else None

    # Datagrams --------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: Endpoint, now: float) -> None:
        """As in WireMachine. Counts and drops what does not decode."""
        source = data[1:_ID_END]
        try:
            if data[0] == _ORDINARY:
                self._ordinary((source, address), data[_ID_END:], now)
            elif data[0] == _HANDSHAKE:
                self._handshake((source, address), data[_ID_END:], now)
            elif data[0] == _WHOAREYOU:
                self._whoareyou(source, data, address, now)
            else:
                self._challenge(source, data[_ID_END:], address)
        except (DecodeError, IndexError) as error:
            self.counters[f"bad datagram: {error}"] += 1

    def _challenge(self, source: bytes, nonce: bytes, address: Endpoint) -> None:
        seq = self._identities.seq(source, address).to_bytes(8, "big")
        self._send(_WHOAREYOU, nonce + seq, address)

    def _handshake(self, peer: _Peer, rest: bytes, now: float) -> None:
        size = int.from_bytes(rest[:2], "big")
        encoded, message = rest[2 : 2 + size], rest[2 + size :]
        if encoded:
            record = self._records.decode(encoded)
            if record.node_id != peer[0]:
                raise DecodeError("foreign record")
            self._identities.learn(record)
        self.counters["handshakes_accepted"] += 1
        self._make_session(peer, bool(message[0]))
        self._seen(peer)
        self._session_made(peer, now)
        self._ordinary(peer, message, now)

    def _seen(self, peer: _Peer) -> None:
        node_id, (host, port) = peer
        record = self._identities.record(node_id)
        self.outbox.send(Actor.ROUTING, PeerSeen(node_id, host, port, record, self._sessions[peer]))

    def _ordinary(self, peer: _Peer, message: bytes, now: float) -> None:
        client_mode = self._sessions.get(peer)
        if client_mode is None:
            self._challenge(peer[0], message[2:_HEAD], peer[1])
            return
        if client_mode != bool(message[0]):
            self._sessions[peer] = bool(message[0])
            self._seen(peer)
        kind = message[1]
        if kind == _PING:
            self.counters["served_ping"] += 1
            pong = encode_pong(Pong(self._local.record.seq, *peer[1]))
            self._respond(peer[1], _PONG, message[2:_HEAD], pong)
        elif kind in RESPONSE_KINDS:
            self._answer(peer, message, now)
        elif kind in _FORWARD_TO:
            ticket = (peer[0], *peer[1], message[2:_HEAD])
            request = PeerRequest(*ticket, kind, message[_HEAD:], bool(message[0]), now + 1.0)
            self.outbox.send(_FORWARD_TO[kind], request)

    def _respond(self, address: Endpoint, kind: int, request_id: bytes, body: bytes) -> None:
        self._send(_ORDINARY, self._mode + bytes((kind,)) + request_id + body, address)

    def _reply(self, reply: PeerReply, _now: float) -> None:
        for body in reply.bodies:
            self._respond((reply.host, reply.port), reply.kind, reply.request_id, body)

    # Life of the node -------------------------------------------------------------------------------------------

    def record_changed(self) -> None:
        """Nothing is kept that was made from the record."""

    def closed(self) -> None:
        """Fail everything."""
        self._waiting.clear()
        pending, self._pending = self._pending, {}
        for each in pending.values():
            self.outbox.send(Actor.ROUTING, CallFailed(each.call, "closed"))

    def handle(self, message: Message, now: float) -> None:
        """As in Machine."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.counters["unexpected_message"] += 1
            return
        handler(message, now)

    def _stats(self, stats: Stats, _now: float) -> None:
        gauges = {"sessions": len(self._sessions), "calls": len(self._pending)}
        value = {"counters": dict(self.counters), "gauges": gauges}
        self.outbox.send(Actor(stats.asker), Done(stats.request, value))

    def stop(self, now: float) -> None:  # noqa: ARG002
        """As in Machine."""
        self.closed()
