"""A guard of speed that counts work instead of time: a change that doubles the work of a request fails here.

The actors' real reactors, mailboxes and sockets run in one thread, a turn at a time, and everything that costs is
counted: system calls on the UDP socket, batches between actors, cipher objects made, packets opened and sealed,
elliptic-curve operations, bodies parsed by protobuf.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from benchmarks.peer import Peer, Target
from codexdht.actors import udp
from codexdht.actors.log import EventLog
from codexdht.actors.mailbox import Mailbox
from codexdht.actors.reactor import Reactor
from codexdht.entropy import seeded
from codexdht.identity import PrivateKey, curve
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, ClockSet, Message, Open
from codexdht.messages.machine import Machine
from codexdht.records import decode_record, envelope, multiaddress_of_endpoint, sign_record
from codexdht.routing.machine import RoutingMachine
from codexdht.routing.settings import RoutingSettings
from codexdht.store.machine import StoreMachine
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.settings import StoreSettings
from codexdht.wire.crypto import Aead, Mask, StandardCrypto
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings

REQUESTS = 32
KEY = bytes(range(32))
NO_SIGNALS = SimpleNamespace(reader=SimpleNamespace(fileno=lambda: -1))


class CountingAead:
    """A cipher that counts its use."""

    def __init__(self, inner: Aead, work: Counter[str]) -> None:
        self._inner = inner
        self._work = work

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        self._work["sealed"] += 1
        return self._inner.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        self._work["opened"] += 1
        return self._inner.decrypt(nonce, data, associated_data)


class CountingCrypto(StandardCrypto):
    """Real cryptography that counts the objects it makes."""

    def __init__(self, work: Counter[str]) -> None:
        self._work = work

    def mask(self, node_id: bytes) -> Mask:
        self._work["ciphers made"] += 1
        return super().mask(node_id)

    def aead(self, key: bytes) -> Aead:
        self._work["ciphers made"] += 1
        return CountingAead(super().aead(key), self._work)


class CountingMailbox(Mailbox):
    """A mailbox that counts what it sends."""

    work: Counter[str]

    def send(self, to: Actor, messages: list[Message]) -> None:
        self.work["batches"] += 1
        self.work["messages"] += len(messages)
        super().send(to, messages)


class Bench:
    """Wire, routing and store of one node, and a peer with a session."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.work: Counter[str] = Counter()
        self._folder = folder
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._count(monkeypatch)
        key, entropy = PrivateKey(b"\7" * 32), seeded(1)
        settings = WireSettings(listen=["/ip4/127.0.0.1/udp/0"])
        self.wire = WireMachine(key, LocalState(), settings, entropy, CountingCrypto(self.work))
        self.routing = RoutingMachine(self.wire.node_id, RoutingSettings(), entropy, [])
        self.store = StoreMachine(MemoryBackend(), StoreSettings(), entropy)
        machines = {Actor.WIRE: self.wire, Actor.ROUTING: self.routing, Actor.STORE: self.store}
        self.reactors = {actor: self._reactor(actor, machine) for actor, machine in machines.items()}
        address = self._bind()
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(2.0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.sock.connect(address)
        self.target = Target(sign_record(key, 1, []), address)
        self.peer = self.connect()
        self.settle()

    def _count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        work = self.work

        def counted(owner: object, name: str, label: str) -> None:
            original: Callable[..., object] = getattr(owner, name)

            def call(*args: object, **kwargs: object) -> object:
                work[label] += 1
                return original(*args, **kwargs)

            monkeypatch.setattr(owner, name, call)

        class CountingSocket(socket.socket):
            def recvfrom(self, *args: int) -> tuple[bytes, tuple[str, int]]:
                work["receives"] += 1
                return super().recvfrom(*args)

            def sendto(self, *args: object) -> int:
                work["sends"] += 1
                return super().sendto(*args)

            def sendmsg(self, *args: object) -> int:
                work["sends"] += 1
                return super().sendmsg(*args)

        counted(curve, "verify", "signature checks")
        counted(curve, "shared_point", "shared points")
        counted(envelope, "_read_any", "records parsed")
        counted(discv5, "_parse", "bodies parsed")
        monkeypatch.setattr(udp.socket, "socket", CountingSocket)

    def _reactor(self, actor: Actor, machine: Machine) -> Reactor:
        mailbox = CountingMailbox(self._context, self._folder, actor)
        mailbox.work = self.work
        return Reactor(machine, mailbox, EventLog())

    def _bind(self) -> tuple[str, int]:
        """Open the node and return its address."""
        wire = self.reactors[Actor.WIRE]
        port = udp.UdpPort(
            self.wire,
            udp.OwnSockets([("127.0.0.1", 0)]),
            wire.poller,
            must_bind=True,
            send_together=True,
        )
        wire.ports.append(port)
        now = time.monotonic()
        for reactor in self.reactors.values():
            reactor.machine.handle(ClockSet(time.time() - now), now)
            reactor.machine.boot(now)
        self.wire.handle(Open(Actor.API, 1, now + 5.0), now)
        port.flush(now)
        record = next(
            message.record
            for _, messages in self.wire.outbox.take()
            for message in reversed(messages)
            if hasattr(message, "provider_record")
        )
        return decode_record(record).endpoint

    def turn(self, actor: Actor, patience: int = 1000) -> bool:
        """Let an actor take one turn; tell whether it had anything to do within so many milliseconds."""
        reactor = self.reactors[actor]
        busy = bool(reactor.poller.poll(patience))
        if busy:
            reactor._turn(NO_SIGNALS)
        return busy

    def settle(self) -> None:
        """Let everybody finish, and forget what it took."""
        while any(self.turn(actor, 20) for actor in self.reactors):
            continue
        self.work.clear()

    def connect(self, seed: int = 2) -> Peer:
        """Return a new peer with a session; the work of the peer itself is not counted."""
        peer = Peer(self.target, seeded(seed))
        self.work.clear()
        self.sock.send(peer.hello())
        self.turn(Actor.WIRE)
        self.sock.send(peer.answer(self.sock.recv(2048), peer.ping(b"")))
        self.turn(Actor.WIRE)
        peer.open(self.sock.recv(2048))
        return peer

    def ask(self, kind: int, body: bytes, server: Actor | None, answers: int) -> dict[str, float]:
        """Return the work of one request, measured with as many as a turn takes and get so many datagrams each."""
        packets = [self.peer.seal(kind, number.to_bytes(8, "big"), body) for number in range(REQUESTS)]
        self.work.clear()
        for packet in packets:
            self.sock.send(packet)
        self.turn(Actor.WIRE)
        if server is not None:
            self.turn(server)
            if answers:
                self.turn(Actor.WIRE)
        for _ in range(REQUESTS * answers):
            self.peer.open(self.sock.recv(2048))
        return {what: count / REQUESTS for what, count in self.work.items()}

    def close(self) -> None:
        for reactor in self.reactors.values():
            for port in reactor.ports:
                port.close()
            reactor._mailbox.close()
        self.sock.close()
        self._context.term()


@pytest.fixture
def bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(folder, monkeypatch)
    yield bench
    bench.close()


LITTLE = 0.2
"""A request; work of this size is shared by all requests of a turn."""


def check(work: dict[str, float], **most: float) -> None:
    """Fail when anything was done that is not allowed, or more often than allowed (a little more is fine)."""
    allowed = {name.replace("_", " "): count for name, count in most.items()}
    too_much = {what: count for what, count in work.items() if count > allowed.get(what, 0) + LITTLE}
    assert too_much == {}


def test_ping(bench: Bench) -> None:
    """One datagram in, one out; opened and sealed once; nothing made, nothing parsed, no other actor asked. All answers
    of a turn to one peer leave in one system call."""
    work = bench.ask(Kind.PING, discv5.encode_ping(1), None, answers=1)
    check(work, receives=1, opened=1, sealed=1)


def test_talk_req(bench: Bench) -> None:
    """As PING: its body is read without protobuf, too."""
    body = discv5.encode_talk_request(discv5.TalkRequest(b"echo", bytes(512)))
    work = bench.ask(Kind.TALK_REQ, body, None, answers=1)
    check(work, receives=1, opened=1, sealed=1)


def test_find_node_fast(bench: Bench) -> None:
    """Two messages between the actors, all requests of a turn in one batch each way; no signature is checked."""
    for number in range(20):
        address = multiaddress_of_endpoint(("127.0.0.1", 2000 + number))
        record = sign_record(PrivateKey(bytes([1 + number]) * 32), 1, [address])
        bench.routing.table.answered(record, 0.01, time.monotonic())
    work = bench.ask(Kind.FIND_NODE_FAST, discv5.encode_find_node_fast(KEY), Actor.ROUTING, answers=1)
    check(work, receives=1, opened=1, sealed=1, messages=2)


def announce(bench: Bench, providers: int) -> None:
    for number in range(providers):
        peer = bench.connect(seed=100 + number) if number else bench.peer
        body = discv5.encode_add_provider(discv5.AddProvider(KEY, peer.record.encoded))
        bench.sock.send(peer.seal(Kind.ADD_PROVIDER, b"", body))
        bench.settle()


@pytest.mark.parametrize(("providers", "answers"), [(1, 1), (20, 4)])
def test_get_providers(bench: Bench, providers: int, answers: int) -> None:
    """As FIND_NODE_FAST: each datagram is sealed once, and records are not verified to be handed on."""
    announce(bench, providers)
    work = bench.ask(Kind.GET_PROVIDERS, discv5.encode_get_providers(KEY), Actor.STORE, answers)
    check(work, receives=1, opened=1, sealed=answers, messages=2)


def test_add_provider(bench: Bench) -> None:
    """One message to the store; a record that was verified once is not verified again under another key."""
    announce(bench, 1)
    body = discv5.encode_add_provider(discv5.AddProvider(bytes(32), bench.peer.record.encoded))
    work = bench.ask(Kind.ADD_PROVIDER, body, Actor.STORE, answers=0)
    check(work, receives=1, opened=1, messages=1)


def test_handshake(bench: Bench) -> None:
    """Two signatures and one shared point, two datagrams each way, one mask and two ciphers; routing checks nothing,
    and nobody needs protobuf."""
    bench.connect(seed=3)
    while bench.turn(Actor.ROUTING, 20):
        continue
    work = bench.work
    assert work["signature checks"] == 2
    assert work["shared points"] == 1
    assert work["records parsed"] + work["bodies parsed"] == 0
    assert work["ciphers made"] <= 3
    assert work["sends"] <= 2
    assert work["opened"] <= 1
    assert work["batches"] <= 1
