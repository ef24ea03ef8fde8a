"""A simulated node: the machines of its processes, joined by a bus, with the simulation in the place of its users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

from codexdht.messages.codec import decode_batch, encode_batch
from codexdht.messages.internal import (
    Actor,
    Call,
    ClockSet,
    Close,
    Done,
    Failed,
    FindProviders,
    GetProviders,
    Hello,
    Life,
    LocalRecords,
    Lookup,
    Message,
    NodeLife,
    Open,
    Publish,
    PutProvider,
    Start,
    UpdateRecord,
)
from codexdht.messages.machine import Machine
from codexdht.records import Endpoint
from codexdht.routing.machine import RoutingMachine
from codexdht.testing.events import EventLoop
from codexdht.testing.network import Interface, Network

UNIX_START: Final = 1_800_000_000.0
"""Unix time at the beginning of every simulation."""
_WIRE: Final = Actor.WIRE
_SHORTEST_WAIT: Final = 0.001
_GRACE: Final = 1e-6
_NEVER: Final = float("inf")


class Wire(Machine, Protocol):
    """What the bus needs of a wire machine beyond Machine."""

    node_id: bytes
    datagrams: list[tuple[bytes, Endpoint]]
    wants_socket: bool

    def receive_datagram(self, data: bytes, address: Endpoint, now: float) -> None:
        """Take one datagram."""

    def socket_bound(self, endpoints: list[Endpoint], now: float) -> None:
        """The sockets are bound."""

    def socket_closed(self, now: float) -> None:
        """The sockets are closed."""


class Reply(NamedTuple):
    """How a request ended: its value, or an error code ("timeout" when nothing came in time), and after how long."""

    value: Any
    code: str
    seconds: float


OnReply = Callable[[Reply], None]


class Place(NamedTuple):
    """Where a node is: what it binds, what others see (the same without a NAT), and whether only answers come in."""

    bound: Endpoint
    seen: Endpoint
    nat: bool = False


class Machines(NamedTuple):
    """The logic of one node."""

    wire: Wire
    routing: Machine
    store: Machine


class Node:
    """One node. `calls` counts what routing had sent to peers, by message kind.

    The bus gives every message to its machine at once and in order, ticks a machine after each batch as the shell does,
    and goes on until nobody has anything to say. Requests of the simulation go in as the API actor's, which the
    simulation stands for; with `codec`, every batch is packed and unpacked as between processes. Invariant: between
    two turns all outboxes are empty, and a wake-up is due no later than the first deadline.
    """

    def __init__(
        self,
        machines: Machines,
        places: list[Place],
        network: Network,
        loop: EventLoop,
        *,
        codec: bool = False,
    ) -> None:
        self.machines = machines
        self.node_id = machines.wire.node_id
        self.number = int.from_bytes(self.node_id, "big")
        self.places = places
        self.life = Life.CLOSED
        self.record = b""
        self.calls: dict[int, int] = {}
        self.born = loop.now
        self._network = network
        self._loop = loop
        self._codec = codec
        self._by_actor: dict[Actor, Machine] = {
            Actor.WIRE: machines.wire,
            Actor.ROUTING: machines.routing,
            Actor.STORE: machines.store,
        }
        self.interfaces: list[Interface] = []
        self._asked: dict[int, tuple[OnReply, float]] = {}
        self._answered: list[tuple[OnReply, Reply]] = []
        self._number = 0
        self._due: dict[Actor, float] = dict.fromkeys(self._by_actor, _NEVER)
        self._touched: list[Actor] = []
        self._wakes_at = _NEVER
        self._is_dead = False
        self._peer = (self.node_id, places[0].seen)

    # Life -------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the machines."""
        now = self._loop.now
        for machine in self._by_actor.values():
            machine.handle(ClockSet(UNIX_START), now)
            machine.boot(now)
        self._turn(*self._by_actor)

    def join(self) -> None:
        """Boot, open and start."""
        self.open()
        self.start()

    def open(self) -> None:
        """Start the machines and bind the sockets."""
        self.boot()
        self.ask(Actor.WIRE, Open, on_reply=lambda _: self._live(Life.OPEN))

    def start(self) -> None:
        """Bootstrap and begin maintenance."""
        self.ask(Actor.ROUTING, Start, on_reply=lambda _: self._live(Life.STARTED))

    def _live(self, life: Life) -> None:
        self.life = life
        for actor in self._by_actor:
            self.tell(actor, NodeLife(Actor.API, life))

    def kill(self) -> None:
        """End the node as a power cut does."""
        self._is_dead = True
        self._detach()
        self._touched.clear()

    @property
    def routing(self) -> RoutingMachine:
        """The routing machine, for looking at its table. Raises TypeError for a node that has a stand-in."""
        if not isinstance(self.machines.routing, RoutingMachine):
            raise TypeError("this node has no routing machine of its own")
        return self.machines.routing

    @property
    def is_hostile(self) -> bool:
        """Whether the node has a stand-in for its routing machine."""
        return not isinstance(self.machines.routing, RoutingMachine)

    @property
    def peer(self) -> tuple[bytes, Endpoint]:
        """Whom others have a session with: node id, and the address they see."""
        return self._peer

    @property
    def is_alive(self) -> bool:
        """Whether the node was not killed."""
        return not self._is_dead

    # Requests ---------------------------------------------------------------------------------------------------

    def ask(
        self, actor: Actor, request: type[Any], *fields: Any, on_reply: OnReply, timeout: float = 1.0
    ) -> None:
        """Send a request and call back once: with its answer, or with the code "timeout" when its time is over."""
        self._number += 1
        number, now = self._number, self._loop.now
        self._asked[number] = (on_reply, now)
        self._loop.at(now + timeout + _GRACE, self._give_up, number)
        self.tell(actor, request(Actor.API, number, now + timeout, *fields))

    def tell(self, actor: Actor, message: Message) -> None:
        """Send a message as the API actor."""
        self._by_actor[actor].handle(message, self._loop.now)
        self._turn(actor)

    def close(self, on_reply: OnReply) -> None:
        """Do what `closeWait` does: routing first, then the wire, then the store."""

        def after_wire(_: Reply) -> None:
            self.ask(Actor.STORE, Close, on_reply=on_reply)

        def after_routing(_: Reply) -> None:
            self.ask(Actor.WIRE, Close, on_reply=after_wire)

        self.ask(Actor.ROUTING, Close, on_reply=after_routing)

    def stop(self) -> None:
        """End as a process does that is told to: each machine saves what it must."""
        now = self._loop.now
        for actor in (Actor.ROUTING, Actor.WIRE, Actor.STORE):
            self._by_actor[actor].stop(now)
            self._turn(actor)
        self.kill()

    def add_provider(self, keys: list[bytes], on_reply: OnReply, timeout: float = 1.0) -> None:
        """Store our record locally, and publish it."""
        record = self.record
        self.ask(
            Actor.STORE, PutProvider, keys, record, on_reply=lambda _: self._publish(keys, on_reply, timeout)
        )

    def _publish(self, keys: list[bytes], on_reply: OnReply, timeout: float) -> None:
        self.ask(Actor.ROUTING, Publish, keys, self.record, on_reply=on_reply, timeout=timeout)

    def get_providers(self, key: bytes, on_reply: OnReply, timeout: float = 1.0) -> None:
        """Look for providers of a key."""
        self.ask(Actor.ROUTING, FindProviders, key, 0, on_reply=on_reply, timeout=timeout)

    def lookup(self, target: bytes, on_reply: OnReply, timeout: float = 1.0) -> None:
        """Look for the nodes closest to a target."""
        self.ask(Actor.ROUTING, Lookup, target, on_reply=on_reply, timeout=timeout)

    def update_record(self, addresses: list[bytes]) -> None:
        """Announce other addresses."""
        self.ask(Actor.WIRE, UpdateRecord, False, b"", addresses, on_reply=lambda _: None)

    def held(self, key: bytes) -> list[bytes]:
        """Return the provider records in this node's own store; unlike `ask` at once, as the store needs no peers."""
        found: list[Reply] = []
        self.ask(Actor.STORE, GetProviders, key, 0, on_reply=found.append)
        return list(found[0].value or []) if found else []

    def _give_up(self, number: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is not None:
            asked[0](Reply(None, "timeout", self._loop.now - asked[1]))

    def _take(self, message: Message) -> None:
        """Take a message to the API actor."""
        if isinstance(message, (Done, Failed)):
            asked = self._asked.pop(message.request, None)
            if asked is not None:
                value, code = (message.value, "") if isinstance(message, Done) else (None, message.code)
                self._answered.append((asked[0], Reply(value, code, self._loop.now - asked[1])))
        elif isinstance(message, Hello):
            self._by_actor[Actor(message.actor)].handle(NodeLife(Actor.API, self.life), self._loop.now)
            self._touched.append(Actor(message.actor))
        elif isinstance(message, LocalRecords):
            self.record = message.provider_record or message.record

    # The bus ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, source: Endpoint) -> None:
        """Take a datagram from the network."""
        self.machines.wire.receive_datagram(data, source, self._loop.now)
        self._turn(_WIRE)

    def wake(self) -> None:
        """Tick the machines that are due."""
        now = self._loop.now
        if self._is_dead or now < self._wakes_at:
            return
        self._wakes_at = _NEVER
        due = [actor for actor, time in self._due.items() if time <= now]
        for actor in due:
            self._by_actor[actor].tick(now)
        if due:
            self._turn(*due)
        else:  # what was due then has been settled meanwhile
            self._plan()

    def _turn(self, *touched: Actor) -> None:
        """Carry messages until nobody has anything to say, beginning with what these machines say."""
        if self._is_dead:
            return
        self._touched += touched
        for actor in self._touched:  # grows while messages are given to others
            outbox = self._by_actor[actor].outbox
            if outbox.events:
                outbox.events.clear()
            for to, messages in outbox.take():
                self._give(to, messages)
        self._flush()
        self._plan()
        while self._answered:
            on_reply, reply = self._answered.pop(0)
            on_reply(reply)

    def _give(self, actor: Actor, messages: list[Message]) -> None:
        now = self._loop.now
        if self._codec:
            messages = decode_batch(encode_batch(messages))
        machine = self._by_actor.get(actor)
        if machine is None:
            for message in messages:
                self._take(message)
            return
        for message in messages:
            if type(message) is Call:
                self.calls[message.kind] = self.calls.get(message.kind, 0) + 1
            machine.handle(message, now)
        machine.tick(now)
        self._touched.append(actor)

    def _flush(self) -> None:
        wire = self.machines.wire
        if wire.wants_socket != bool(self.interfaces):
            self._attach() if wire.wants_socket else self._detach()
            self._turn(Actor.WIRE)
            return
        if wire.datagrams:
            for data, destination in wire.datagrams:
                is_v6 = ":" in destination[0]
                for interface in self.interfaces:
                    if interface.is_v6 == is_v6:
                        self._network.send(interface, data, destination)
                        break
                else:
                    self._network.counters["no_route"] += 1
            wire.datagrams.clear()

    def _attach(self) -> None:
        for place in self.places:
            self.interfaces.append(self._network.attach(place.seen, self.receive, nat=place.nat))
        self.machines.wire.socket_bound([place.bound for place in self.places], self._loop.now)

    def _detach(self) -> None:
        for interface in self.interfaces:
            self._network.detach(interface)
        self.interfaces.clear()
        if not self._is_dead:
            self.machines.wire.socket_closed(self._loop.now)

    def _plan(self) -> None:
        """Have `wake` called at the first deadline, a millisecond from now at the earliest, as a shell would."""
        now, due = self._loop.now, self._due
        for actor in set(self._touched):
            deadline = self._by_actor[actor].deadline()
            due[actor] = _NEVER if deadline is None else deadline
        self._touched.clear()
        first = min(due.values())
        if first < self._wakes_at:
            self._wakes_at = max(first, now + _SHORTEST_WAIT)
            self._loop.at(self._wakes_at, self.wake)
