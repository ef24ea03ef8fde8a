"""Wire machines on an in-memory network, under a clock that only the test moves; and one by itself, with a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.errors import StorageFull
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import Kind, encode_ping
from codexdht.messages.internal import Actor, Call, ClockSet, Hello, Message, Open, UpdateRecord
from codexdht.records import (
    Endpoint,
    SignedPeerRecord,
    decode_record,
    multiaddress_of_endpoint,
    parse_address,
)
from codexdht.records.multiaddress import address_text
from codexdht.wire.crypto import Crypto, StandardCrypto
from codexdht.wire.local import LocalState, decode_state
from codexdht.wire.machine import WireMachine
from codexdht.wire.packet import encode_header, encode_packet
from codexdht.wire.settings import WireSettings

UNIX = 1_700_000_000.0


class WireNode:
    """A machine with its key, address, and everything it has said to other actors."""

    def __init__(self, machine: WireMachine, key: PrivateKey, address: Endpoint) -> None:
        self.machine = machine
        self.key = key
        self.address = address
        self.said: list[tuple[Actor, Message]] = []

    @property
    def node_id(self) -> bytes:
        return self.machine.node_id

    @property
    def counters(self) -> dict[str, int]:
        return self.machine.counters

    def stranger(self, source: bytes, size: int = 20) -> bytes:
        """Return an ordinary packet to this node from an id that has no session."""
        header = encode_header(0, b"n" * 12, source)
        return encode_packet(StandardCrypto().mask(self.node_id), b"i" * 16, header, b"r" * size)

    def feed(self, data: bytes, address: Endpoint, now: float) -> list[int]:
        """Give the node a datagram; return the sizes of what it answers."""
        self.machine.receive_datagram(data, address, now)
        sizes = [len(data) for data, _ in self.machine.datagrams]
        self.machine.datagrams.clear()
        return sizes

    def take(self, kind: type[Any]) -> list[Any]:
        """Return the messages of one kind said since the last time, and forget all."""
        self.collect()
        taken = [message for _, message in self.said if isinstance(message, kind)]
        self.said.clear()
        return taken

    def collect(self) -> None:
        for actor, messages in self.machine.outbox.take():
            self.said.extend((actor, message) for message in messages)


class Net:
    """Delivers datagrams in the order they were sent, but for those that `lose` names. `log` holds lost ones, too."""

    def __init__(self) -> None:
        self.now = 0.0
        self.nodes: dict[Endpoint, WireNode] = {}
        self.lose: Callable[[bytes, Endpoint, Endpoint], bool] = lambda data, source, to: False
        self.log: list[tuple[Endpoint, Endpoint, bytes]] = []
        self.calls = 0

    def node(
        self, seed: int, host: str = "127.0.0.1", crypto: Crypto | None = None, **settings: Any
    ) -> WireNode:
        """Return a new open node; its port comes from the seed."""
        address = (host, 9000 + seed)
        listen = [address_text(multiaddress_of_endpoint(address))]
        key = PrivateKey.generate(seeded(seed))
        machine = WireMachine(
            key,
            LocalState(),
            WireSettings(**{"listen": listen, **settings}),
            seeded(seed + 1000),
            crypto=crypto,
        )
        machine.handle(ClockSet(UNIX), self.now)
        machine.boot(self.now)
        machine.handle(Open(Actor.API, 1, self.now + 1), self.now)
        machine.socket_bound([address], self.now)
        machine.outbox.events.clear()
        node = self.nodes[address] = WireNode(machine, key, address)
        node.take(object)
        return node

    def call(
        self, a: WireNode, b: WireNode, kind: int = Kind.PING, body: bytes | None = None, seconds: float = 1.0
    ) -> int:
        """Have a send a request (a PING by default) to b; return the call's number. Nothing is delivered yet."""
        self.calls += 1
        host, port = b.address
        body = encode_ping(1) if body is None else body
        deadline = self.now + seconds
        call = Call(self.calls, deadline, b.node_id, b.key.public_key, host, port, kind, body)
        a.machine.handle(call, self.now)
        return self.calls

    def step(self) -> bool:
        """Deliver what is under way, once; tell whether anything was."""
        batch: list[tuple[Endpoint, Endpoint, bytes]] = []
        for address, node in self.nodes.items():
            batch += [(address, to, data) for data, to in node.machine.datagrams]
            node.machine.datagrams.clear()
        self.log += batch
        for source, to, data in batch:
            assert len(data) <= 1280
            if to in self.nodes and not self.lose(data, source, to):
                self.nodes[to].machine.receive_datagram(data, source, self.now)
        return bool(batch)

    def run(self) -> None:
        """Deliver until nothing is under way."""
        while self.step():
            pass

    def delay(self, node: WireNode, seconds: float) -> None:
        """Let time pass while what a node has sent is still under way."""
        held = node.machine.datagrams[:]
        node.machine.datagrams.clear()
        self.wait(seconds)
        node.machine.datagrams.extend(held)

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of a node."""
        end = self.now + seconds
        self.run()
        while True:
            deadlines = [n.machine.deadline() for n in self.nodes.values()]
            self.now = min([d for d in deadlines if d is not None and d <= end] + [end])
            for node in self.nodes.values():
                node.machine.tick(self.now)
            self.run()
            if self.now >= end:
                return

    def flags(self) -> list[int]:
        """Return the sizes of all datagrams so far, a shape by which tests tell packets apart."""
        return [len(data) for _, _, data in self.log]


class Disk:
    """What a wire machine has saved; while it is full, nothing more."""

    def __init__(self) -> None:
        self.saved = b""
        self.is_full = False

    def save(self, data: bytes) -> None:
        if self.is_full:
            raise StorageFull("no space left")
        self.saved = data


class LoneWire(WireMachine):
    """A machine after `boot`, with nothing left in its outbox."""

    key = PrivateKey.generate(seeded(1))
    listen = "/ip4/127.0.0.1/udp/8090"

    def __init__(
        self, state: LocalState | None = None, unix: float = UNIX, *, is_full: bool = False, **settings: Any
    ) -> None:
        self.disk = Disk()
        self.disk.is_full = is_full
        settings = {"listen": [self.listen], **settings}
        super().__init__(
            self.key, state or LocalState(), WireSettings(**settings), seeded(2), save=self.disk.save
        )
        self.handle(ClockSet(unix), 0.0)
        self.boot(0.0)
        self.outbox.take()

    def said(self, actor: Actor = Actor.API) -> list[Any]:
        return dict(self.outbox.take()).get(actor, [])

    def saved(self) -> LocalState:
        return decode_state(self.disk.saved)

    def update(self, record: bytes = b"", addresses: list[str] | None = None, provider: bool = False) -> Any:
        """Send UpdateRecord; return what the asker is answered."""
        binary = [parse_address(text) for text in addresses or []]
        self.handle(UpdateRecord(Actor.API, 7, 1.0, provider, record, binary), 1.0)
        return self.said()[-1]

    def told_record(self) -> SignedPeerRecord:
        """Return the DHT record as another actor is told it."""
        self.handle(Hello(Actor.STORE), 0.0)
        return decode_record(self.said(Actor.STORE)[-1].record)


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def make_wire() -> type[LoneWire]:
    """Makes machines without peers."""
    return LoneWire
