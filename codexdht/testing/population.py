"""Where nodes come from: networks that have grown, networks that have run for a day, and churn."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Final, NamedTuple

from codexdht.records import SignedPeerRecord
from codexdht.records.networks import network_of
from codexdht.routing.entry import Entry
from codexdht.testing.fast_wire import FastWire
from codexdht.testing.node import Node, Place
from codexdht.testing.world import Spec, World

_NEAREST: Final = 24
_NEIGHBOURS: Final = 120
_REGION: Final = 200
_STRANGERS: Final = 250
_DAY: Final = 86_400.0
_START_SPREAD: Final = 10.0
_QUARTER: Final = 4


def grow(world: World, count: int, *, bootstraps: int = 3, pause: float = 0.5) -> list[Node]:
    """Start `count` nodes one after the other; each but the first knows the first few, and nobody else."""
    nodes: list[Node] = []
    known: list[SignedPeerRecord] = []
    for _ in range(count):
        node = world.add(Spec(tuple(known)))
        node.join()
        nodes.append(node)
        if len(known) < bootstraps:
            known.append(world.records.decode(node.record))
        world.loop.run_for(pause)
    return nodes


class _Identity(NamedTuple):
    """Somebody whom others may know; node is None for those who are gone. `peer` is what a session is known by."""

    number: int
    record: SignedPeerRecord
    node: Node | None


def settle(world: World, count: int, *, dead: float = 0.1, sessions: bool = True) -> list[Node]:
    """Start `count` nodes whose tables are as after a day: the nearest nodes, many of the region around, and a sample
    of all others; a share `dead` of all entries are of nodes that are gone. With FastWire, nodes that know each
    other have sessions, too, unless `sessions` is false."""
    nodes = [world.add(Spec()) for _ in range(count)]
    for node in nodes:
        node.open()
    everybody = [_living(world, node) for node in nodes]
    everybody += [_dead(world) for _ in range(round(count * dead / (1 - dead)))]
    everybody.sort(key=lambda identity: identity.number)
    for at, identity in enumerate(everybody):
        if identity.node is not None:
            known = _acquaintances(world, everybody, at)
            _fill(world, identity.node, known)
            if sessions:
                _make_sessions(identity.node, known)
    for node in nodes:
        world.loop.after(world.entropy.random() * _START_SPREAD, node.start)
    world.loop.run_for(_START_SPREAD)
    return nodes


def _living(world: World, node: Node) -> _Identity:
    record = world.records.decode(node.record)
    return _Identity(record.number, record, node)


def _dead(world: World) -> _Identity:
    record = world.record_at(world.new_key(), world.addresses.ipv4())
    return _Identity(record.number, record, None)


def _acquaintances(world: World, everybody: list[_Identity], at: int) -> list[_Identity]:
    """Return whom a node knows, nearest first. Ids that share many leading bits are neighbours in the order of ids."""
    own = everybody[at].number
    region = everybody[max(0, at - _REGION) : at + _REGION]
    region = sorted((i for i in region if i.number != own), key=lambda i: i.number ^ own)
    rest = region[_NEAREST:]
    known = region[:_NEAREST] + world.entropy.sample(rest, min(len(rest), _NEIGHBOURS))
    known += world.entropy.sample(everybody, min(len(everybody), _STRANGERS))
    return list({identity.number: identity for identity in known}.values())


def _fill(world: World, node: Node, known: list[_Identity]) -> None:
    settings = world.settings.routing
    own = node.interfaces[0].number
    random = world.entropy.random
    jitter = world.network.weather.jitter
    for identity in known:
        endpoint = identity.record.endpoint
        if endpoint is None:
            continue
        entry = Entry(
            identity.record, identity.number, network_of(endpoint[0], settings.ip_limits), world.now - _DAY
        )
        other = identity.node.interfaces[0].number if identity.node else identity.number & 0xFFFF
        rtt = 2 * world.network.latency.between(own, other)
        entry.answered(rtt, world.now - 600 * random())
        entry.rtt_var = jitter / 4 * rtt  # one answer teaches little of how they vary, but there were many
        node.routing.table.restore(entry)


def _make_sessions(node: Node, known: list[_Identity]) -> None:
    """Give a node a session with each of those who live."""
    for identity in known:
        other = identity.node
        if other is None or other is node:
            continue
        if isinstance(node.machines.wire, FastWire) and isinstance(other.machines.wire, FastWire):
            node.machines.wire.assume_session(other.peer)
            other.machines.wire.assume_session(node.peer)


class Churn:
    """Replaces nodes: one is killed, and a fresh one joins through a few random live nodes. `spared` are left alone.

    What a killed node leaves refers to itself, and in a large heap Python looks for such things all but never; so they
    are looked for here, each time a quarter of all nodes has been replaced.
    """

    def __init__(self, world: World, share_per_hour: float, spared: list[Node]) -> None:
        self.replaced = 0
        self._world = world
        self._alive = list(world.alive())
        self._spared = {id(node) for node in spared}
        self._pause = 3600.0 / (share_per_hour * len(self._alive))
        self._is_on = True
        self._next()

    def stop(self) -> None:
        """Replace no more."""
        self._is_on = False

    def _next(self) -> None:
        self._world.loop.after(self._world.entropy.expovariate(1 / self._pause), self._replace)

    def _replace(self) -> None:
        if not self._is_on:
            return
        at = self._world.entropy.randrange(len(self._alive))
        if id(self._alive[at]) not in self._spared:
            self._alive[at].kill()
            self._alive[at] = join(self._world, self._alive)
            self.replaced += 1
            if self.replaced % max(1, len(self._alive) // _QUARTER) == 0:
                self._world.alive()  # forgets the others
                gc.collect()
        self._next()


def join(world: World, among: list[Node], places: Sequence[Place] = ()) -> Node:
    """Start a node that knows three random live nodes out of `among`."""
    contacts = [node for node in world.entropy.sample(among, min(len(among), 6)) if node.is_alive][:3]
    node = world.add(Spec([world.records.decode(c.record) for c in contacts], places=places))
    node.join()
    return node


def stop_share(world: World, share: float, spared: list[Node]) -> int:
    """Kill a share of all live nodes at once; return how many."""
    keep = {id(node) for node in spared}
    candidates = [node for node in world.alive() if id(node) not in keep]
    victims = world.entropy.sample(candidates, min(len(candidates), round(share * len(world.alive()))))
    for node in victims:
        node.kill()
    return len(victims)
