"""Hostile nodes: they answer every search with each other, and keep and give no providers."""

from __future__ import annotations

from collections import Counter
from heapq import nsmallest
from typing import Any

from codexdht.errors import DecodeError
from codexdht.identity import log_distance
from codexdht.messages.discv5 import (
    Kind,
    decode_find_node,
    decode_find_node_fast,
    encode_ping,
    encode_records,
)
from codexdht.messages.internal import Actor, Call, Done, Message, PeerReply, PeerRequest, Start
from codexdht.messages.machine import Outbox
from codexdht.records import SignedPeerRecord

_NODES_A_PACKET = 6


class Gang:
    """Hostile nodes that know each other. Its records are added as its members start."""

    def __init__(self) -> None:
        self.records: list[SignedPeerRecord] = []
        self.victims: list[SignedPeerRecord] = []
        """Whom each member introduces itself to when it starts."""

    def closest(self, target: bytes) -> list[bytes]:
        """Return the members' records closest to a target."""
        wanted = int.from_bytes(target, "big")
        chosen = nsmallest(_NODES_A_PACKET, self.records, key=lambda r: r.number ^ wanted)
        return [record.encoded for record in chosen]

    def at(self, node_id: bytes, distances: list[int]) -> list[bytes]:
        """Return some members' records at these log-distances from one of them."""
        chosen = [r.encoded for r in self.records if log_distance(node_id, r.node_id) in distances]
        return chosen[:_NODES_A_PACKET]


class _Silent:
    """The parts of a machine that hostile ones do not need."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()

    def boot(self, now: float) -> None:
        """See Machine."""

    def handle(self, message: Message, now: float) -> None:
        """See Machine."""

    def tick(self, now: float) -> None:
        """See Machine."""

    def deadline(self) -> float | None:
        """See Machine."""
        return None

    def stop(self, now: float) -> None:
        """See Machine."""

    def is_idle(self) -> bool:
        """See Machine."""
        return True

    def done(self, message: Any) -> None:
        """Answer a request."""
        self.outbox.send(Actor(message.asker), Done(message.request, None))


class HostileRouting(_Silent):
    """Introduces itself to the victims, and answers FIND_NODE and FIND_NODE_FAST with the gang's members."""

    def __init__(self, node_id: bytes, gang: Gang) -> None:
        super().__init__()
        self._node_id = node_id
        self._gang = gang

    def handle(self, message: Message, now: float) -> None:
        """See Machine."""
        if isinstance(message, Start):
            self._introduce(now)
            self.done(message)
        elif isinstance(message, PeerRequest):
            self._answer(message)

    def _introduce(self, now: float) -> None:
        for number, victim in enumerate(self._gang.victims):
            if victim.endpoint is not None:
                target = (victim.node_id, victim.public_key, *victim.endpoint)
                self.outbox.send(Actor.WIRE, Call(number, now + 1.0, *target, Kind.PING, encode_ping(1)))

    def _answer(self, request: PeerRequest) -> None:
        try:
            if request.kind == Kind.FIND_NODE_FAST:
                records = self._gang.closest(decode_find_node_fast(request.body))
            else:
                records = self._gang.at(self._node_id, decode_find_node(request.body))
        except DecodeError:
            return
        bodies = [encode_records(1, records)]
        ticket = (request.node_id, request.host, request.port, request.request_id)
        self.outbox.send(Actor.WIRE, PeerReply(*ticket, Kind.NODES, bodies))


class HostileStore(_Silent):
    """Forgets what it is given, and knows no providers."""

    def handle(self, message: Message, now: float) -> None:  # noqa: ARG002
        """See Machine."""
        if isinstance(message, PeerRequest) and message.kind == Kind.GET_PROVIDERS:
            ticket = (message.node_id, message.host, message.port, message.request_id)
            self.outbox.send(Actor.WIRE, PeerReply(*ticket, Kind.PROVIDERS, [encode_records(1, [])]))
        elif hasattr(message, "asker"):
            self.done(message)
