"""Signed records, and routing machines joined by an in-memory network."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import (
    Kind,
    Pong,
    decode_add_provider,
    decode_get_providers,
    encode_pong,
    encode_talk_response,
    split_records,
)
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    CallSent,
    ClockSet,
    Done,
    DropProvided,
    Failed,
    LocalRecords,
    Message,
    PeerReply,
    PeerRequest,
    PeerSeen,
    PutProvided,
    Start,
)
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint, sign_record
from codexdht.routing.machine import RoutingMachine
from codexdht.routing.settings import RoutingSettings

UNIX = 1_700_000_000.0


class Signer:
    """Makes signed records from a fixed seed."""

    def __init__(self, seed: int = 1) -> None:
        self._entropy = seeded(seed)
        self._made = 0

    def key(self) -> PrivateKey:
        return PrivateKey.generate(self._entropy)

    def record(
        self, host: str = "", key: PrivateKey | None = None, seq: int = 1, port: int = 9000
    ) -> SignedPeerRecord:
        self._made += 1
        host = host or f"5.{self._made // 250}.{self._made % 250}.1"
        return sign_record(key or self.key(), seq, [multiaddress_of_endpoint((host, port))])


class Peer:
    """One node of a `Swarm`: a machine, its record, everything it has said to the store and to users, and what it has
    asked of whom. Its store answers with what `stored` says."""

    def __init__(self, machine: RoutingMachine, record: SignedPeerRecord) -> None:
        self.machine = machine
        self.record = record
        self.said: list[tuple[Actor, Message]] = []
        self.calls: list[Call] = []
        self.alive = True
        self.client_mode = False
        self.providers: dict[bytes, list[bytes]] = {}
        self.stored: dict[str, Any] = {"LoadTable": [], "ListProvided": []}

    @property
    def counters(self) -> dict[str, int]:
        return self.machine.counters

    def answer(self, request: int) -> Any:
        """Return the value of the Done of a request of ours, or None while there is none."""
        return next(
            (
                m.value
                for a, m in self.said
                if a is Actor.API and isinstance(m, Done) and m.request == request
            ),
            None,
        )

    def reply(self, request: int) -> Message | None:
        """Return the reply to a request of ours."""
        return next(
            (m for a, m in self.said if a is Actor.API and getattr(m, "request", None) == request), None
        )


class Swarm:
    """Routing machines without wires: a Call becomes a PeerRequest, a PeerReply a CallAnswer, after a latency that is
    fixed for each pair of nodes. The first call to a node is its handshake. `script` may
    answer a call in place of the node it goes to."""

    def __init__(self, seed: int = 1, latency: tuple[float, float] = (0.02, 0.08)) -> None:
        self.now = 1000.0
        self.peers: dict[bytes, Peer] = {}
        self.signer = Signer(seed)
        self.script: Callable[[Peer, Call], list[Message] | None] | None = None
        self._entropy = seeded(seed)
        self._latency = latency
        self._latencies: dict[frozenset[bytes], float] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._seed = seed
        self._sessions: set[tuple[bytes, bytes]] = set()

    def add(
        self,
        bootstrap: list[SignedPeerRecord] | None = None,
        settings: RoutingSettings | None = None,
        record: SignedPeerRecord | None = None,
        life: bool = True,
        stored: dict[str, Any] | None = None,
    ) -> Peer:
        record = record or self.signer.record()
        entropy = seeded(f"{self._seed} {len(self.peers)}")
        machine = RoutingMachine(record.node_id, settings or RoutingSettings(), entropy, bootstrap or [])
        peer = Peer(machine, record)
        peer.stored.update(stored or {})
        self.peers[record.node_id] = peer
        self.tell(peer, ClockSet(UNIX - self.now), LocalRecords(record.encoded, b""))
        machine.boot(self.now)
        if life:
            self.tell(peer, Start(Actor.API, 0, self.now + 1))
        return peer

    def join(self, settings: RoutingSettings | None = None, **given: Any) -> Peer:
        """Add a node that knows the first one."""
        return self.add([next(iter(self.peers.values())).record], settings, **given)

    def grow(self, count: int, **settings: Any) -> list[Peer]:
        """Add nodes one after the other that know the first one."""
        peers = [self.add(**settings)]
        for _ in range(count - 1):
            peers.append(self.add([peers[0].record], **settings))
            self.run(0.3)
        self.run(5)
        return peers

    def tell(self, peer: Peer, *messages: Message) -> None:
        for message in messages:
            peer.machine.handle(message, self.now)
        peer.machine.tick(self.now)
        self._drain(peer)

    def ask(self, peer: Peer, message: Message, seconds: float = 3.0) -> Any:
        """Hand in a user's request, let time pass, and return the value of its answer."""
        self.tell(peer, message)
        self.run(seconds)
        return peer.answer(message.request)  # type: ignore[union-attr]

    def changed(self, peer: Peer, key: PrivateKey, port: int) -> LocalRecords:
        """Return what a peer's wire says after it has signed another record now."""
        record = self.signer.record(key=key, seq=int(self.now + peer.machine.local.unix_offset), port=port)
        return LocalRecords(record.encoded, b"")

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            ticks = [
                (d, i)
                for i, p in enumerate(self.peers.values())
                if p.alive and (d := p.machine.deadline()) is not None
            ]
            due = min(ticks, default=(end + 1, -1))
            event = self._events[0][0] if self._events else end + 1
            if min(due[0], event) > end:
                break
            if event <= due[0]:
                self.now = max(self.now, event)
                heapq.heappop(self._events)[2]()
            else:
                self.now = max(self.now + 1e-6, due[0])
                peer = list(self.peers.values())[due[1]]
                peer.machine.tick(self.now)
                self._drain(peer)
        self.now = end

    def closest(self, target: bytes, without: Peer, count: int = 16) -> list[bytes]:
        number = int.from_bytes(target, "big")
        ids = [i for i, p in self.peers.items() if p.alive and p is not without]
        return sorted(ids, key=lambda i: int.from_bytes(i, "big") ^ number)[:count]

    # Inside

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, action))

    def _drain(self, peer: Peer) -> None:
        for actor, messages in peer.machine.outbox.take():
            for message in messages:
                if actor is Actor.WIRE and isinstance(message, Call):
                    self._call(peer, message)
                elif actor is Actor.STORE and hasattr(message, "request"):
                    peer.said.append((actor, message))
                    self._after(0.001, lambda m=message: self._store(peer, m))
                else:
                    peer.said.append((actor, message))

    def _store(self, peer: Peer, message: Any) -> None:
        value = peer.stored.get(type(message).__name__)
        if callable(value):
            value = value(message)
        failed = isinstance(value, Failed)
        answer = Failed(message.request, value.code, value.text) if failed else Done(message.request, value)
        self.tell(peer, answer)

    def _call(self, peer: Peer, call: Call) -> None:
        peer.calls.append(call)
        scripted = self.script(peer, call) if self.script is not None else None
        other = self.peers.get(call.node_id)
        if scripted is not None:
            self._after(0.05, lambda: self.tell(peer, *scripted))
        elif other is None or not other.alive:
            self._after(call.deadline - self.now, lambda: self._reach(peer, CallFailed(call.call, "timeout")))
        else:
            one_way = self._one_way(peer, other)
            self._after(one_way, lambda: self._arrive(peer, other, call, one_way))

    def _one_way(self, a: Peer, b: Peer) -> float:
        pair = frozenset((a.record.node_id, b.record.node_id))
        if pair not in self._latencies:
            low, high = self._latency
            self._latencies[pair] = low + (high - low) * self._entropy.random()
        return self._latencies[pair] / 2

    def _reach(self, peer: Peer, *messages: Message) -> None:
        if peer.alive:
            self.tell(peer, *messages)

    def _arrive(self, peer: Peer, other: Peer, call: Call, one_way: float) -> None:
        if not other.alive:
            self._after(call.deadline - self.now, lambda: self._reach(peer, CallFailed(call.call, "timeout")))
            return
        if (peer.record.node_id, other.record.node_id) not in self._sessions:
            self._sessions.add((peer.record.node_id, other.record.node_id))
            host, port = peer.record.endpoint or ("", 0)
            seen = PeerSeen(peer.record.node_id, host, port, peer.record.encoded, peer.client_mode)
            self.tell(other, seen)
        answers = self._serve(peer, other, call, 2 * one_way)
        self._after(one_way, lambda: self._reach(peer, *answers))

    def _serve(self, peer: Peer, other: Peer, call: Call, rtt: float) -> list[Message]:
        if call.kind == Kind.PING:
            host, port = peer.record.endpoint or ("", 0)
            return [
                CallAnswer(
                    call.call,
                    Kind.PONG,
                    encode_pong(Pong(other.record.seq, host, port)),
                    rtt,
                    other.client_mode,
                )
            ]
        if call.kind == Kind.TALK_REQ:
            return [
                CallAnswer(call.call, Kind.TALK_RESP, encode_talk_response(b"hello"), rtt, other.client_mode)
            ]
        if call.kind == Kind.ADD_PROVIDER:
            added = decode_add_provider(call.body)
            other.providers.setdefault(added.key, []).append(added.record)
            return [CallSent(call.call)]
        if call.kind == Kind.GET_PROVIDERS:
            held = other.providers.get(decode_get_providers(call.body), [])
            return [
                CallAnswer(call.call, Kind.PROVIDERS, b, rtt, other.client_mode)
                for b in split_records(held, 5)
            ]
        request = PeerRequest(
            peer.record.node_id, "9.9.9.9", 9, b"", call.kind, call.body, peer.client_mode, self.now + 1
        )
        other.machine.handle(request, self.now)
        replies = [m for _, messages in other.machine.outbox.take() for m in messages]
        bodies = [body for reply in replies if isinstance(reply, PeerReply) for body in reply.bodies]
        return [CallAnswer(call.call, Kind.NODES, body, rtt, other.client_mode) for body in bodies]


class Provided:
    """A store's memory of what is provided."""

    def __init__(self) -> None:
        self.items: dict[bytes, tuple[float, bytes]] = {}

    def answers(self) -> dict[str, Any]:
        return {"PutProvided": self.put, "DropProvided": self.drop, "ListProvided": self.list}

    def put(self, message: PutProvided) -> None:
        for key, unix in message.items:
            self.items[key] = (unix, message.record)

    def drop(self, message: DropProvided) -> None:
        for key in message.keys:
            self.items.pop(key, None)

    def list(self, message: Any) -> list[list[Any]]:
        keys = sorted(key for key in self.items if key >= message.start)[: message.limit]
        return [[key, *self.items[key]] for key in keys]


@pytest.fixture
def signer() -> Signer:
    """Makes signed records."""
    return Signer()


@pytest.fixture
def make_swarm() -> type[Swarm]:
    """Makes networks of routing machines."""
    return Swarm


@pytest.fixture
def swarm() -> Swarm:
    """An empty network."""
    return Swarm()


@pytest.fixture
def memory() -> Provided:
    """The memory of a store that has been told nothing yet."""
    return Provided()
