"""FastWire against the real wire: the same calls in the same network give the same messages at the same times."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from codexdht.entropy import seeded
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import AddProvider, Kind, encode_add_provider, encode_ping, encode_records
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    CallSent,
    ClockSet,
    Close,
    Done,
    Open,
    PeerReply,
    PeerRequest,
    PeerSeen,
)
from codexdht.records import Endpoint, RecordCache
from codexdht.testing.events import EventLoop
from codexdht.testing.fast_wire import FastWire
from codexdht.testing.latency import Latency
from codexdht.testing.network import Network, Weather
from codexdht.testing.node import UNIX_START, Wire
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.plain import PlainCrypto
from codexdht.wire.settings import WireSettings

ADDRESSES: list[Endpoint] = [("11.0.0.1", 8090), ("11.0.1.1", 8090), ("11.0.2.1", 8090)]
KEYS = [PrivateKey.generate(seeded(f"key {i}")) for i in range(3)]
Log = list[tuple[object, ...]]


def real(key: PrivateKey, settings: WireSettings) -> Wire:
    return WireMachine(key, LocalState(), settings, seeded(key.public_key), PlainCrypto())


def fast(key: PrivateKey, settings: WireSettings) -> Wire:
    return FastWire(key, LocalState(), settings, RecordCache(100))


class Bench:
    """Wires of one kind; `log` is what they said to routing and store, with the time, without what may differ."""

    def __init__(self, make: Callable[[PrivateKey, WireSettings], Wire], *, client: bool = False) -> None:
        self.loop = EventLoop()
        self.network = Network(self.loop, seeded(1), Latency(seed=1), Weather(loss=0.0, jitter=0.0))
        self.log: Log = []
        self.wires: list[Wire] = []
        self._make = make
        self._interfaces = [self.network.attach(a, self._receiver(i)) for i, a in enumerate(ADDRESSES[:2])]
        for i in range(2):
            self.wires.append(self._wire(i, client=client and i == 0))

    def _wire(self, i: int, *, client: bool = False) -> Wire:
        host, port = ADDRESSES[i]
        listen = [f"/ip4/{host}/udp/{port}"]
        wire = self._make(KEYS[i], WireSettings(listen=listen, announce=listen, client_mode=client))
        wire.handle(ClockSet(UNIX_START), self.loop.now)
        wire.boot(self.loop.now)
        wire.handle(Open(Actor.API, 1, self.loop.now + 1), self.loop.now)
        wire.socket_bound([ADDRESSES[i]], self.loop.now)
        wire.outbox.take()
        return wire

    def restart(self, i: int) -> None:
        self.wires[i] = self._wire(i)

    def _receiver(self, i: int) -> Callable[[bytes, Endpoint], None]:
        def receive(data: bytes, source: Endpoint) -> None:
            self.wires[i].receive_datagram(data, source, self.loop.now)
            self.turn(i)

        return receive

    def turn(self, i: int) -> None:
        wire = self.wires[i]
        for actor, messages in wire.outbox.take():
            for message in messages:
                self.note(i, actor, message)
                if isinstance(message, PeerRequest) and message.kind != Kind.ADD_PROVIDER:
                    ticket = (message.node_id, message.host, message.port, message.request_id)
                    bodies = [encode_records(2, [b"one"]), encode_records(2, [b"two"])]
                    wire.handle(PeerReply(*ticket, Kind.NODES, bodies), self.loop.now)
        for data, destination in wire.datagrams:
            self.network.send(self._interfaces[i], data, destination)
        wire.datagrams.clear()
        due = wire.deadline()
        if due is not None:
            self.loop.at(max(due, self.loop.now + 0.001), self.tick, i)

    def tick(self, i: int) -> None:
        self.wires[i].tick(self.loop.now)
        self.turn(i)

    def note(self, i: int, actor: Actor, message: object) -> None:
        if isinstance(message, PeerRequest):
            message = replace(message, request_id=b"")
        if isinstance(message, CallAnswer):
            message = replace(message, rtt=round(message.rtt, 9))
        if isinstance(message, (PeerRequest, CallAnswer, CallSent, CallFailed, PeerSeen, Done)):
            self.log.append((round(self.loop.now, 9), i, actor, message))

    def call(self, number: int, kind: Kind, body: bytes, *, to: int = 1, by: int = 0) -> None:
        node_id = self.wires[to].node_id if to < 2 else bytes(32)
        call = Call(number, self.loop.now + 1.0, node_id, KEYS[to].public_key, *ADDRESSES[to], kind, body)
        self.wires[by].handle(call, self.loop.now)
        self.turn(by)


def stranger(bench: Bench) -> None:
    bench.call(1, Kind.PING, encode_ping(1))


def second_call(bench: Bench) -> None:
    stranger(bench)
    bench.loop.run_for(1.0)
    bench.call(2, Kind.PING, encode_ping(1))


def waiting_calls(bench: Bench) -> None:
    for number in range(4):
        bench.call(number, Kind.PING, encode_ping(1))


def several_packets(bench: Bench) -> None:
    bench.call(1, Kind.FIND_NODE, b"\x0a\x02\x00\x00")


def nobody(bench: Bench) -> None:
    bench.call(1, Kind.PING, encode_ping(1), to=2)
    bench.call(2, Kind.PING, encode_ping(1), to=2)


def no_answer(bench: Bench) -> None:
    bench.call(1, Kind.ADD_PROVIDER, encode_add_provider(AddProvider(bytes(32), b"record")))
    bench.loop.run_for(2.0)
    bench.call(2, Kind.ADD_PROVIDER, encode_add_provider(AddProvider(bytes(32), b"record")))


def lost_session(bench: Bench) -> None:
    stranger(bench)
    bench.loop.run_for(1.0)
    bench.restart(1)
    bench.call(2, Kind.PING, encode_ping(1))


def crossing(bench: Bench) -> None:
    bench.call(1, Kind.PING, encode_ping(1))
    bench.call(1, Kind.PING, encode_ping(1), to=0, by=1)


def closing(bench: Bench) -> None:
    bench.wires[0].handle(Close(Actor.API, 7, bench.loop.now + 1), bench.loop.now)
    bench.wires[0].socket_closed(bench.loop.now)
    bench.call(1, Kind.PING, encode_ping(1))


STORIES = [
    stranger,
    second_call,
    waiting_calls,
    several_packets,
    nobody,
    no_answer,
    lost_session,
    crossing,
    closing,
]


@pytest.mark.parametrize("client", [False, True])
@pytest.mark.parametrize("story", STORIES)
def test_fast_wire_says_what_the_real_one_says_when_it_says_it(
    story: Callable[[Bench], None], client: bool
) -> None:
    """For every story the messages to routing and store, and their times, are the same."""
    logs = []
    for make in (real, fast):
        bench = Bench(make, client=client)
        story(bench)
        bench.loop.run_for(5.0)
        logs.append(bench.log)
    assert logs[0] == logs[1]
    assert logs[0]
