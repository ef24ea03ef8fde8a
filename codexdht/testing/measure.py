"""What is measured in a simulated network: published keys, searches for them, and who holds them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import nsmallest
from typing import Any, Final, NamedTuple

from codexdht.messages.discv5 import Kind
from codexdht.testing.node import Node, Reply
from codexdht.testing.world import World

CLOSEST: Final = 16
_TIMEOUT: Final = 1.0
_AFTERMATH: Final = 1.5


class Published(NamedTuple):
    """A key, and the node that provides it."""

    key: bytes
    provider: Node


class Probe(NamedTuple):
    """One search for providers: when it began, how long the answer took, whether it had the provider's record and was
    complete, the error code if any, and how many FIND messages the asking node had sent until then."""

    at: float
    seconds: float
    found: bool
    complete: bool
    code: str
    messages: int


class LookupProbe(NamedTuple):
    """One plain lookup: how long its answer took, whether that was complete, how many of the 16 live nodes that are
    really the closest it named, and how many FIND messages the asking node sent for it, also after the answer."""

    seconds: float
    complete: bool
    right: int
    messages: int


def find_messages(node: Node) -> int:
    """Return how many FIND_NODE and FIND_NODE_FAST a node has sent."""
    return node.calls.get(Kind.FIND_NODE, 0) + node.calls.get(Kind.FIND_NODE_FAST, 0)


def publish(world: World, providers: list[Node], count: int, *, pause: float = 0.25) -> list[Published]:
    """Have `count` random keys provided, by each provider in turn, and wait until all is sent."""
    published = []
    for at in range(count):
        provider = providers[at % len(providers)]
        key = world.entropy.randbytes(32)
        provider.add_provider([key], _ignore)
        published.append(Published(key, provider))
        world.loop.run_for(pause)
    world.loop.run_for(12.0)
    return published


def probe(
    world: World,
    published: list[Published],
    count: int,
    *,
    askers: Callable[[], list[Node]] | None = None,
    pause: float = 0.25,
) -> list[Probe]:
    """Have `count` random live nodes search for the keys in turn; wait for the last answer.

    A key's provider does not search for it: its own record is not among its results.
    """
    probes: list[Probe] = []
    for at in range(count):
        wanted = published[at % len(published)]
        candidates = world.alive() if askers is None else askers()
        others = [node for node in candidates if node is not wanted.provider]
        _search(world, world.entropy.choice(others), wanted, probes)
        world.loop.run_for(pause)
    world.loop.run_for(_TIMEOUT + 0.01)
    return probes


def _search(world: World, asker: Node, wanted: Published, probes: list[Probe]) -> None:
    began, sent = world.now, find_messages(asker)

    def on_reply(reply: Reply) -> None:
        value: dict[str, Any] = reply.value or {"providers": [], "complete": False}
        found = wanted.provider.record in value["providers"]
        messages = find_messages(asker) - sent
        probes.append(Probe(began, reply.seconds, found, value["complete"], reply.code, messages))

    asker.get_providers(wanted.key, on_reply, _TIMEOUT)


def probe_lookups(
    world: World, count: int, *, askers: Callable[[], list[Node]] | None = None, pause: float = 0.25
) -> list[LookupProbe]:
    """Have `count` random live nodes look up random ids; wait for the last answer."""
    probes: list[LookupProbe] = []
    for _ in range(count):
        candidates = world.alive() if askers is None else askers()
        _look_up(world, world.entropy.choice(candidates), world.entropy.randbytes(32), probes)
        world.loop.run_for(pause)
    world.loop.run_for(_TIMEOUT + _AFTERMATH + 0.02)
    return probes


def _look_up(world: World, asker: Node, target: bytes, probes: list[LookupProbe]) -> None:
    sent = find_messages(asker)

    def on_reply(reply: Reply) -> None:
        value: dict[str, Any] = reply.value or {"nodes": [], "complete": False}
        others = [node.record for node in closest(world, target, CLOSEST + 1) if node is not asker]
        right = len(set(others[:CLOSEST]) & set(value["nodes"]))
        world.loop.after(_AFTERMATH, note, reply.seconds, value["complete"], right)

    def note(seconds: float, complete: bool, right: int) -> None:
        probes.append(LookupProbe(seconds, complete, right, find_messages(asker) - sent))

    asker.lookup(target, on_reply, _TIMEOUT)


def closest(world: World, key: bytes, count: int = CLOSEST) -> list[Node]:
    """Return the live nodes that are really the closest to a key."""
    wanted = int.from_bytes(key, "big")
    return nsmallest(count, world.alive(), key=lambda node: node.number ^ wanted)


def holders(world: World, wanted: Published) -> int:
    """Return how many of the 16 live nodes that are really the closest to a key hold its provider's record."""
    return sum(wanted.provider.record in node.held(wanted.key) for node in closest(world, wanted.key))


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of all values lies (nearest rank), 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def mean(values: list[float] | list[int]) -> float:
    """Return the mean, 0 when there are no values."""
    return sum(values) / len(values) if values else 0.0


def probe_figures(probes: list[Probe], median_rtt: float) -> dict[str, float]:
    """Return what is reported of a set of probes; times in median round trips (`…_rtt`) and in seconds."""
    times = [p.seconds for p in probes]
    return {
        "searches": len(probes),
        "found_share": mean([int(p.found) for p in probes]),
        "complete_share": mean([int(p.complete) for p in probes]),
        "answered_share": mean([int(not p.code) for p in probes]),
        "p50_rtt": percentile(times, 0.5) / median_rtt,
        "p95_rtt": percentile(times, 0.95) / median_rtt,
        "slowest_seconds": max(times, default=0.0),
        "find_messages_mean": mean([p.messages for p in probes]),
        "find_messages_p95": percentile([float(p.messages) for p in probes], 0.95),
    }


def lookup_figures(probes: list[LookupProbe]) -> dict[str, float]:
    """Return what is reported of a set of lookups."""
    times = [p.seconds for p in probes]
    return {
        "lookups": len(probes),
        "lookup_complete_share": mean([int(p.complete) for p in probes]),
        "lookup_p50_seconds": percentile(times, 0.5),
        "lookup_p95_seconds": percentile(times, 0.95),
        "lookup_right_of_16_mean": mean([p.right for p in probes]),
        "lookup_find_messages_mean": mean([p.messages for p in probes]),
        "lookup_find_messages_p95": percentile([float(p.messages) for p in probes], 0.95),
    }


def _ignore(_reply: Reply) -> None:
    """The answer to a publication says how many packets were sent; the stores are looked at instead."""
