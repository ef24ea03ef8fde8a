"""A whole simulated network: its clock, its packets, its nodes, and how they come and go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal
from weakref import WeakKeyDictionary

import msgspec
from msgspec import Meta

from codexdht.entropy import Entropy, seeded
from codexdht.identity import PrivateKey
from codexdht.records import (
    Endpoint,
    RecordCache,
    SignedPeerRecord,
    ip_version,
    multiaddress_of_endpoint,
    sign_record,
)
from codexdht.routing.machine import RoutingMachine
from codexdht.routing.settings import RoutingSettings
from codexdht.store.backend import Backend
from codexdht.store.machine import StoreMachine
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.settings import StoreSettings
from codexdht.testing.events import EventLoop
from codexdht.testing.fast_wire import FastWire
from codexdht.testing.hostile import Gang, HostileRouting, HostileStore
from codexdht.testing.latency import Latency
from codexdht.testing.network import Addresses, Network, Weather
from codexdht.testing.node import UNIX_START, Machines, Node, Place, Wire
from codexdht.wire.crypto import StandardCrypto
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.plain import PlainCrypto
from codexdht.wire.settings import WireSettings

Level = Literal["real", "plain", "fast"]
"""How the wire is simulated: with its real cryptography; with `PlainCrypto`, which has the same packets but does not
calculate; or by `FastWire`, which has no packets."""

_RECORDS: Final = 1_000_000


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network is made of. Times are in seconds."""

    seed: int = 1
    level: Level = "real"
    median_rtt: Annotated[float, Meta(gt=0)] = 0.1
    """Median round trip between two nodes."""
    rtt_spread: Annotated[float, Meta(ge=0)] = 0.5
    """Sigma of the logarithm of the round trip."""
    weather: Weather = Weather()
    routing: RoutingSettings = RoutingSettings()
    store: StoreSettings = StoreSettings()
    codec: bool = False
    """Pack and unpack all messages between actors."""
    traced: bool = False
    """Keep a hash of all that arrives."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a node is made of. What is left out is made: a fresh key, an IPv4 address of its own, an empty store.

    bootstrap: whom it knows; voted: it announces the address that others see once they have told it, otherwise that
    from the beginning; backend: the store of an earlier node; gang: it is hostile, and one of them.
    """

    bootstrap: Sequence[SignedPeerRecord] = ()
    key: PrivateKey | None = None
    places: Sequence[Place] = ()
    voted: bool = False
    client_mode: bool = False
    backend: Backend | None = None
    gang: Gang | None = None


class World:
    """`nodes` holds the nodes in the order in which they were made, killed ones until `alive` is called. `entropy` is
    for whoever drives the simulation; each node and the network have their own, so that what one draws does not change
    the others."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.loop = EventLoop()
        self.entropy = seeded(f"{settings.seed} world")
        self.addresses = Addresses()
        self.nodes: list[Node] = []
        self._made = 0
        self._specs: WeakKeyDictionary[Node, Spec] = WeakKeyDictionary()
        self.records = RecordCache(_RECORDS)
        """Shared by all nodes, so that each record is verified once."""
        latency = Latency(settings.median_rtt, settings.rtt_spread, settings.seed)
        weather_entropy = seeded(f"{settings.seed} weather")
        self.network = Network(self.loop, weather_entropy, latency, settings.weather, traced=settings.traced)

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return self.loop.now

    def new_key(self) -> PrivateKey:
        """Return a fresh identity."""
        return PrivateKey.generate(self.entropy)

    def add(self, spec: Spec) -> Node:
        """Add a node that is not started yet."""
        address = self.addresses.ipv4() if not spec.places else spec.places[0].seen
        full = replace(
            spec,
            key=spec.key or self.new_key(),
            places=spec.places or [Place(address, address)],
            backend=MemoryBackend() if spec.backend is None else spec.backend,
        )
        self._made += 1
        machines = self._machines(full, seeded(f"{self.settings.seed} node {self._made}"))
        node = Node(machines, list(full.places), self.network, self.loop, codec=self.settings.codec)
        self.nodes.append(node)
        self._specs[node] = full
        return node

    def restart(self, node: Node) -> Node:
        """End a node's processes in good order and start them again, on the same disk and at the same place."""
        node.stop()
        again = self.add(self._specs[node])
        again.join()
        return again

    def _machines(self, spec: Spec, entropy: Entropy) -> Machines:
        announce = [_multiaddress(place.seen) for place in spec.places]
        wire_settings = WireSettings(
            listen=[_multiaddress(place.bound) for place in spec.places],
            announce="auto" if spec.voted else announce,
            client_mode=spec.client_mode,
        )
        wire = self._wire(spec.key or self.new_key(), wire_settings, entropy)
        if spec.gang is not None:
            return Machines(wire, HostileRouting(wire.node_id, spec.gang), HostileStore())
        settings = msgspec.structs.replace(self.settings.routing, client_mode=spec.client_mode)
        records = self.records.shared(frozenset(ip_version(place.bound) for place in spec.places))
        routing = RoutingMachine(wire.node_id, settings, entropy, list(spec.bootstrap), records=records)
        store = StoreMachine(spec.backend or MemoryBackend(), self.settings.store, entropy)
        return Machines(wire, routing, store)

    def _wire(self, key: PrivateKey, settings: WireSettings, entropy: Entropy) -> Wire:
        match self.settings.level:
            case "fast":
                return FastWire(key, LocalState(), settings, self.records)
            case "plain":
                return WireMachine(key, LocalState(), settings, entropy, PlainCrypto())
            case _:
                return WireMachine(key, LocalState(), settings, entropy, StandardCrypto())

    def alive(self) -> list[Node]:
        """Return the nodes that were not killed, and forget the others."""
        if not all(node.is_alive for node in self.nodes):
            self.nodes = [node for node in self.nodes if node.is_alive]
        return self.nodes

    def record_at(self, key: PrivateKey, address: Endpoint) -> SignedPeerRecord:
        """Return the record that a node with this key announces who has been at this address from the beginning."""
        record = sign_record(key, int(UNIX_START), [multiaddress_of_endpoint(address)])
        return self.records.decode(record.encoded)


def _multiaddress(endpoint: Endpoint) -> str:
    host, port = endpoint
    return f"/ip{6 if ':' in host else 4}/{host}/udp/{port}"
