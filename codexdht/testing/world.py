"""A whole simulated network: its clock, its packets, its nodes, and how they come and go."""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from codexdht.entropy import Entropy, seeded
from codexdht.identity import PrivateKey
from codexdht.records import Endpoint, RecordCache, SignedPeerRecord, multiaddress_of_endpoint, sign_record
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


class _Kept(NamedTuple):
    """What a restarted node finds as it was."""

    key: PrivateKey
    bootstrap: list[SignedPeerRecord]
    backend: Backend


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
        self._kept: dict[bytes, _Kept] = {}
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

    def new_node(
        self,
        bootstrap: list[SignedPeerRecord],
        *,
        key: PrivateKey | None = None,
        places: list[Place] | None = None,
        announce: Literal["auto"] | None = None,
        client_mode: bool = False,
        backend: Backend | None = None,
        gang: Gang | None = None,
    ) -> Node:
        """Add a node that is not started yet, at an IPv4 address of its own if no places are given. It announces where
        it is seen, or with "auto" leaves that to the network. With `backend` it finds an earlier node's store; with
        `gang` it is hostile."""
        key = key or self.new_key()
        if places is None:
            address = self.addresses.ipv4()
            places = [Place(address, address)]
        wire_settings = WireSettings(
            listen=[_multiaddress(place.bound) for place in places],
            announce=announce or [_multiaddress(place.seen) for place in places],
            client_mode=client_mode,
        )
        self._made += 1
        entropy = seeded(f"{self.settings.seed} node {self._made}")
        wire = self._wire(key, wire_settings, entropy)
        backend = MemoryBackend() if backend is None else backend
        if gang is None:
            routing_settings = msgspec.structs.replace(self.settings.routing, client_mode=client_mode)
            routing = RoutingMachine(wire.node_id, routing_settings, entropy, bootstrap, records=self.records)
            store = StoreMachine(backend, self.settings.store, entropy)
            machines = Machines(wire, routing, store)
            self._kept[wire.node_id] = _Kept(key, bootstrap, backend)
        else:
            machines = Machines(wire, HostileRouting(wire.node_id, gang), HostileStore())
        node = Node(
            machines,
            places,
            self.network,
            self.loop,
            codec=self.settings.codec,
        )
        self.nodes.append(node)
        return node

    def restart(self, node: Node) -> Node:
        """End a node's processes in good order and start them again, on the same disk and at the same place."""
        kept = self._kept[node.node_id]
        node.stop()
        again = self.new_node(kept.bootstrap, key=kept.key, places=node.places, backend=kept.backend)
        again.join()
        return again

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
