"""The network between simulated nodes: datagrams that take time, get lost, come twice, overtake each other, and do not
pass partitions and NATs."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from codexdht.entropy import Entropy
from codexdht.records import Endpoint
from codexdht.testing.events import EventLoop
from codexdht.testing.latency import Latency

Receiver = Callable[[bytes, Endpoint], None]
"""Takes a datagram and the endpoint that it seems to come from."""

_TRACED: Final = struct.Struct(">dIII")


class Weather(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What befalls packets. Shares are probabilities for each packet, times are in seconds."""

    loss: float = 0.02
    """Share of packets that never arrive."""
    duplication: float = 0.0
    """Share of packets that arrive twice."""
    reordering: float = 0.0
    """Share of packets that are held back by up to `holdback`."""
    holdback: float = 0.1
    """Longest time for which a packet is held back."""
    jitter: float = 0.1
    """A packet takes up to this share longer than the pair's delay."""
    nat_seconds: float = 120.0
    """How long a NAT lets answers in after the last packet that went out."""


class Interface:
    """Where a node is attached: one address of one family.

    address: what others see; is_v6: its family; nat: whether only answers come in; group: its side of a partition;
    is_up: false once the node is gone. `allowed` is what a NAT remembers: until when packets of an endpoint come in.
    """

    __slots__ = ("address", "allowed", "group", "is_up", "is_v6", "nat", "number", "receive")

    def __init__(self, number: int, address: Endpoint, receive: Receiver, *, nat: bool) -> None:
        self.number = number
        self.address = address
        self.is_v6 = ":" in address[0]
        self.receive = receive
        self.nat = nat
        self.group = 0
        self.is_up = True
        self.allowed: dict[Endpoint, float] = {}


class Network:
    """All interfaces by address, and the packets between them.

    `counters` says what became of every packet. `weather` may be replaced while the simulation runs. With `traced`,
    `trace` hashes what arrives where and when: equal traces are equal runs.
    """

    def __init__(
        self, loop: EventLoop, entropy: Entropy, latency: Latency, weather: Weather, *, traced: bool = False
    ) -> None:
        self.weather = weather
        self.latency = latency
        self.counters: Counter[str] = Counter()
        self._loop = loop
        self._random = entropy.random
        self._interfaces: dict[Endpoint, Interface] = {}
        self._attached = 0
        self._trace = hashlib.blake2b(digest_size=16) if traced else None

    @property
    def trace(self) -> str:
        """Hash of all arrivals so far, in hex; empty when the network is not traced."""
        return "" if self._trace is None else self._trace.hexdigest()

    def attach(self, address: Endpoint, receive: Receiver, *, nat: bool = False) -> Interface:
        """Attach a node at an address. Raises ValueError when the address is taken."""
        if address in self._interfaces:
            raise ValueError(f"{address} is taken")
        self._attached += 1
        interface = Interface(self._attached, address, receive, nat=nat)
        self._interfaces[address] = interface
        return interface

    def detach(self, interface: Interface) -> None:
        """Take a node away; what is under way to it is lost."""
        interface.is_up = False
        del self._interfaces[interface.address]

    def partition(self, side: Callable[[Endpoint], int]) -> None:
        """Let packets pass only between addresses of the same side; nodes attached later are on side 0."""
        for address, interface in self._interfaces.items():
            interface.group = side(address)

    def heal(self) -> None:
        """End a partition."""
        self.partition(lambda _: 0)

    def send(self, source: Interface, data: bytes, destination: Endpoint) -> None:
        """Send a datagram. Every packet of every node passes here, so it is written flat."""
        counters = self.counters
        counters["sent"] += 1
        weather = self.weather
        if source.nat:
            source.allowed[destination] = self._loop.now + weather.nat_seconds
        target = self._interfaces.get(destination)
        if target is None:
            counters["nobody_there"] += 1
            return
        if source.group != target.group:
            counters["partitioned"] += 1
            return
        if self._random() < weather.loss:
            counters["lost"] += 1
            return
        self._deliver(source, data, target)
        if weather.duplication and self._random() < weather.duplication:
            counters["duplicated"] += 1
            self._deliver(source, data, target)

    def _deliver(self, source: Interface, data: bytes, target: Interface) -> None:
        weather = self.weather
        delay = self.latency.between(source.number, target.number) * (1 + weather.jitter * self._random())
        if weather.reordering and self._random() < weather.reordering:
            self.counters["held_back"] += 1
            delay += weather.holdback * self._random()
        self._loop.after(delay, self._arrive, source, data, target)

    def _arrive(self, source: Interface, data: bytes, target: Interface) -> None:
        if not target.is_up:
            self.counters["nobody_there"] += 1
            return
        if target.nat and target.allowed.get(source.address, 0.0) < self._loop.now:
            self.counters["nat_refused"] += 1
            return
        self.counters["arrived"] += 1
        if self._trace is not None:
            self._trace.update(_TRACED.pack(self._loop.now, source.number, target.number, len(data)) + data)
        target.receive(data, source.address)


class Addresses:
    """Hands out public addresses: a host of its own in a /24 (IPv4) or /64 (IPv6) of its own, if not told otherwise."""

    def __init__(self) -> None:
        self._v4 = self._v6 = 0

    def ipv4(self, port: int = 8090) -> Endpoint:
        """Return an address in a /24 that nobody else has."""
        self._v4 += 1
        high, low = divmod(self._v4, 65_536)
        return f"{11 + high}.{low >> 8}.{low & 255}.1", port

    def ipv6(self, port: int = 8090) -> Endpoint:
        """Return an address in a /64 that nobody else has."""
        self._v6 += 1
        high, low = divmod(self._v6, 65_535)
        return f"2a00:{high + 1:x}:{low + 1:x}::1", port
