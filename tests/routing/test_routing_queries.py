"""Queries as pure state machines, driven in a static network of nodes that are dead, slow or alive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import Entropy, seeded
from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.holders import CountHolders
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.providers import FindProviders
from codexdht.routing.queries.publish import Publish
from codexdht.routing.queries.query import Ask, Query, Shape
from codexdht.routing.queries.resolve import Resolve

OWN = b"\xaa" * 32
ALPHA, LIMIT, EXPECTED = 3, 8, 0.1
ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))


def record_of(node_id: bytes, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord(node_id + bytes([seq]), node_id[:33], node_id, seq, (ADDRESS,))


@lru_cache(4096)
def number(node_id: bytes) -> int:
    return int.from_bytes(node_id, "big")


def appraise(node_id: bytes, now: float) -> tuple[float, bool]:
    return EXPECTED, False


class World:
    """Nodes that never change: each knows the `known` nearest to itself and some others. `delay` says how long one
    takes to answer, None for one that is dead. `held` are provider records by node."""

    def __init__(self, entropy: Entropy, size: int, dead: float = 0.0, known: int = 24) -> None:
        self.entropy = entropy
        self.ids = [entropy.randbytes(32) for _ in range(size)]
        self.dead = {i for i in self.ids if entropy.random() < dead}
        self.delay: Callable[[bytes], float | None] = lambda i: (
            None if i in self.dead else 0.02 + 0.06 * entropy.random()
        )
        self.knows = {}
        for node_id in self.ids:
            nearest = sorted(self.ids, key=lambda i: number(i) ^ number(node_id))[1 : known + 1]
            others = entropy.sample(self.ids, min(size, 40))
            self.knows[node_id] = [i for i in {*nearest, *others} if i != node_id]
            self.knows[node_id].sort()
        self.held: dict[bytes, list[SignedPeerRecord]] = {}

    def start(self, target: bytes, count: int = 6) -> list[SignedPeerRecord]:
        return [record_of(i) for i in self.entropy.sample(self.ids, min(count, len(self.ids)))]

    def closest(self, target: bytes, count: int = 16) -> list[bytes]:
        alive = [i for i in self.ids if i not in self.dead]
        return sorted(alive, key=lambda i: number(i) ^ number(target))[:count]

    def scale(self) -> int:
        """Return how far the 16th nearest node is from ourselves; any distance where there are too few."""
        distances = sorted(number(i) ^ number(OWN) for i in self.ids)
        return distances[15] if len(distances) >= 16 else 1 << 256

    def answer(self, ask: Ask) -> list[SignedPeerRecord]:
        node_id = ask.record.node_id
        if ask.kind == Kind.FIND_NODE_FAST:
            alive = [i for i in self.knows[node_id] if i not in self.dead or number(i) % 4 == 0]
            return [record_of(i) for i in sorted(alive, key=lambda i: number(i) ^ number(ask.about))[:6]]
        if ask.kind == Kind.GET_PROVIDERS:
            return self.held.get(node_id, [])
        return [record_of(node_id, 9)] if ask.kind == Kind.FIND_NODE else []


class Run(NamedTuple):
    """What a driven query did: every ask, when it was over, and the most that was ever in flight."""

    asks: list[Ask]
    ended: float
    most: int


def drive(query: Query, world: World) -> Run:
    """Run a query to its end; fail if it does not come to one."""
    now, asks, most = 0.0, [], 0
    flying: list[tuple[float, int, Ask, bool]] = []
    for _ in range(100_000):
        for ask in query.next(now):
            delay = 0.0 if ask.kind == Kind.ADD_PROVIDER else world.delay(ask.record.node_id)
            flying.append((now + (1.0 if delay is None else delay), len(asks), ask, delay is not None))
            asks.append(ask)
        most = max(most, len([f for f in flying if f[2].kind != Kind.ADD_PROVIDER]))
        if query.done:
            return Run(asks, now, most)
        flying.sort(key=lambda f: f[:2])
        wake = query.wake(now)
        if flying and (wake is None or flying[0][0] <= wake):
            now, _, ask, answers = flying.pop(0)
            if answers:
                query.on_records(ask, world.answer(ask), now)
                query.on_answer(ask, now)
            else:
                query.on_timeout(ask, now)
        else:
            assert wake is not None, "nothing in flight, nothing to wait for, and not done"
            now = max(wake, now + 1e-4)
    raise AssertionError("the query does not end")


def lookup(world: World, target: bytes, width: int = 16, kind: type[Lookup] = Lookup) -> Lookup:
    query = kind(target, OWN, Shape(width, ALPHA, LIMIT, scale=world.scale()), appraise)
    query.add(world.start(target))
    return query


networks = st.tuples(st.integers(0, 2**32), st.integers(1, 120), st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@given(networks)
def test_a_lookup_ends_asks_nobody_the_same_twice_and_keeps_its_limit(
    network: tuple[int, int, float],
) -> None:
    """Whatever share of the network is dead."""
    seed, size, dead = network
    world = World(seeded(seed), size, dead)
    query = lookup(world, world.entropy.randbytes(32))
    run = drive(query, world)
    assert max(Counter((ask.record.node_id, ask.about) for ask in run.asks).values()) == 1
    assert run.most <= LIMIT
    assert query.next(run.ended + 9) == []
    assert not {r.node_id for r in query.closest()} & world.dead


@given(st.integers(0, 2**32), st.integers(1, 150))
def test_a_lookup_finds_the_k_closest_of_a_static_network(seed: int, size: int) -> None:
    """Where everybody answers in time and knows its neighbours, the result is exact."""
    world = World(seeded(seed), size)
    query = lookup(world, world.entropy.randbytes(32))
    drive(query, world)
    assert [r.node_id for r in query.closest()] == world.closest(query.target)


def test_a_lookup_finds_nearly_all_among_dead_nodes() -> None:
    """With a fifth of the nodes dead and some of them still named by others, 15.8 of 16 are found on average."""
    found = []
    for seed in range(12):
        world = World(seeded(seed), 300, 0.2)
        query = lookup(world, world.entropy.randbytes(32))
        drive(query, world)
        found.append(len({r.node_id for r in query.closest()} & set(world.closest(query.target))))
    assert sum(found) / len(found) >= 15.8


def test_a_slow_node_loses_its_place_but_its_late_answer_counts() -> None:
    """After its expected time the next node is asked; an answer that comes while the lookup runs is used."""
    world = World(seeded(1), 100)
    query = lookup(world, world.entropy.randbytes(32))
    first = query.next(0.0)
    assert len(first) == ALPHA
    assert query.next(EXPECTED / 2) == []
    assert query.wake(EXPECTED / 2) == EXPECTED
    second = query.next(EXPECTED)
    assert len(second) == ALPHA
    query.on_answer(first[0], EXPECTED + 0.01)
    assert [r.node_id for r in query.closest()] == [first[0].record.node_id]


def test_slow_nodes_never_push_a_lookup_over_its_limit() -> None:
    """Even if nobody answers, no more than the limit is in flight."""
    world = World(seeded(2), 100)
    query = Lookup(bytes(32), OWN, Shape(16, ALPHA, LIMIT), appraise)
    query.add(world.start(bytes(32), 50))
    asked = sum(len(query.next(step * 0.1)) for step in range(5))
    assert asked == LIMIT


def test_unreliable_nodes_are_asked_after_equally_useful_ones() -> None:
    """Among nodes at one log-distance from the target the reliable come first, whatever their exact distance."""
    near = [bytes(30) + bytes([1, i]) for i in range(4)]
    query = Lookup(bytes(32), OWN, Shape(16, 2, 8), lambda node_id, now: (0.1, node_id in near[:2]))
    query.add(map(record_of, [*near, b"\x01" + bytes(31)]))
    assert [ask.record.node_id for ask in query.next(0.0)] == near[2:]


def test_resolve_asks_the_node_itself_as_soon_as_it_is_known() -> None:
    """The record comes from the node itself, newer than what others said of it, and the search ends there."""
    world = World(seeded(3), 200)
    target = world.ids[50]
    query = lookup(world, target, kind=Resolve)
    run = drive(query, world)
    assert query.record_of(target) == record_of(target, 9)
    own = [ask for ask in run.asks if ask.record.node_id == target]
    assert [ask.kind for ask in own] == [Kind.FIND_NODE]
    assert len(run.asks) < 30


def test_resolve_of_a_dead_node_gives_what_others_know() -> None:
    """The newest record that anybody had is returned, after the whole search."""
    world = World(seeded(4), 100)
    target = world.ids[5]
    world.delay = lambda i: None if i == target else 0.03
    query = lookup(world, target, kind=Resolve)
    drive(query, world)
    assert query.record_of(target) == record_of(target)


def find(world: World, key: bytes, limit: int = 20) -> FindProviders:
    return FindProviders(lookup(world, key), limit, OWN, appraise)


@given(networks)
def test_find_providers_ends_and_asks_nobody_the_same_twice(network: tuple[int, int, float]) -> None:
    """No node gets one request twice, and no more than both limits are in flight."""
    seed, size, dead = network
    world = World(seeded(seed), size, dead)
    query = find(world, world.entropy.randbytes(32))
    for holder in world.closest(query.target)[:3]:
        world.held[holder] = [record_of(b"\x01" * 32)]
    run = drive(query, world)
    assert max(Counter((ask.record.node_id, ask.kind, ask.about) for ask in run.asks).values()) == 1
    assert run.most <= LIMIT + 2 * 16


def test_find_providers_asks_while_the_lookup_still_runs() -> None:
    """A record at the closest nodes is found within a few round trips, long before a lookup would have ended."""
    world = World(seeded(5), 300)
    world.delay = lambda i: 0.05
    key = world.entropy.randbytes(32)
    whole = drive(lookup(world, key), world).ended
    provider = record_of(b"\x01" * 32)
    world.held = {holder: [provider] for holder in world.closest(key)}
    query = find(world, key)
    run = drive(query, world)
    assert query.providers == [provider]
    assert run.ended <= whole / 2


def test_find_providers_stops_at_its_limit_with_one_record_each() -> None:
    """Of each provider the highest seq is kept, our own record is left out, and the limit ends the search at once."""
    world = World(seeded(6), 100)
    key = world.entropy.randbytes(32)
    many = [record_of(bytes([i]) * 32, seq) for i in range(1, 40) for seq in (1, 2)]
    world.held = {i: [record_of(OWN), *many] for i in world.ids}
    query = find(world, key, limit=20)
    drive(query, world)
    assert len(query.providers) == 20
    assert len({r.node_id for r in query.providers}) == 20
    assert OWN not in {r.node_id for r in query.providers}


def test_nothing_to_find_is_an_empty_list() -> None:
    """Without providers every one of the k closest is asked before the search ends."""
    world = World(seeded(7), 100)
    query = find(world, world.entropy.randbytes(32))
    run = drive(query, world)
    assert query.providers == []
    asked = {ask.record.node_id for ask in run.asks if ask.kind == Kind.GET_PROVIDERS}
    assert asked >= set(world.closest(query.target))


def test_slow_holders_are_waited_for_while_nothing_is_found() -> None:
    """Where half of the nodes near a key have said that they hold nothing, and the others are slower than expected,
    the answers of those still come to be heard."""
    world = World(seeded(8), 12)
    key = world.entropy.randbytes(32)
    provider = record_of(b"\x01" * 32)
    world.held = {holder: [provider] for holder in world.closest(key)[::2]}
    world.delay = lambda i: 0.9 if i in world.held else 0.03
    query = find(world, key)
    drive(query, world)
    assert query.providers == [provider]


def test_holders_are_counted_among_the_closest() -> None:
    """The share of the k closest that answer with our own record."""
    world = World(seeded(8), 100)
    key = world.entropy.randbytes(32)
    for holder in world.closest(key)[4:]:
        world.held[holder] = [record_of(OWN)]
    query = CountHolders(lookup(world, key), 1 << 30, OWN, appraise)
    drive(query, world)
    assert query.share() == 12 / 16


def count_holders(answers: list[str]) -> float | None:
    """Return the share of holders among nodes that answer so: "o" a packet with our record, "x" one of other providers,
    "-" one that is lost, "" nothing at all; "!" no answer."""
    nodes = [record_of(bytes([i]) * 32) for i in range(1, len(answers) + 1)]
    query = CountHolders(Lookup(OWN, OWN, Shape(16, ALPHA, LIMIT), appraise), 1 << 30, OWN, appraise)
    query.lookup.add(nodes)
    while asks := query.lookup.next(0.0):
        for ask in asks:
            query.on_answer(ask, 0.0)
    for node, answer in zip(nodes, answers, strict=True):
        ask = Ask(node, Kind.GET_PROVIDERS, OWN)
        for packet in answer.strip("-!"):
            query.on_records(ask, [record_of(OWN if packet == "o" else b"\x77" * 32)], 1.0)
        if answer == "!":
            query.on_timeout(ask, 2.0)
        else:
            query.on_answer(ask, 2.0 if answer.endswith("-") else 1.0)
    return query.share()


def test_who_cannot_tell_is_not_counted_among_the_holders_or_the_others() -> None:
    """A key of many providers is not taken for lost: answers hold some of them. Nor is one whose holder's answer comes
    in part."""
    assert count_holders(["o", "", "xx", "xo", "xxxx"]) == 2 / 5
    assert count_holders(["xxxxx", "xxxxo", "xxxxxx", "xxxxx"]) == 1
    assert count_holders(["xxxx-", "o-", "!", "x"]) == 1 / 2
    assert count_holders(["xxxxx", "!", "x-"]) is None


class Publishing:
    """A publication of keys in a static network."""

    def __init__(self, world: World, keys: list[bytes], rate: float = 1e6) -> None:
        self.lookups = 0
        self.world = world
        self.published: list[tuple[bytes, int]] = []
        reach = 2**256 * 16 // len(world.ids)
        self.query = Publish(
            keys, b"record", self._lookup, may_live=lambda i: False, width=16, reach=reach, rate=rate
        )
        self.query.on_published = lambda key, nodes, now: self.published.append((key, nodes))

    def _lookup(self, key: bytes, width: int, now: float) -> Lookup:
        self.lookups += 1
        return lookup(self.world, key, width)

    def receivers(self, run: Run, key: bytes) -> list[bytes]:
        return [ask.record.node_id for ask in run.asks if ask.kind == Kind.ADD_PROVIDER and ask.key == key]


def publish_all(world: World, count: int) -> Publishing:
    """Publish random keys, and check that each went once to each of its 16 closest live nodes."""
    keys = [world.entropy.randbytes(32) for _ in range(count)]
    job = Publishing(world, keys)
    run = drive(job.query, world)
    for key in keys:
        receivers = job.receivers(run, key)
        assert len(receivers) == job.query.sent.get(key, 0)
        assert sorted(receivers) == sorted(world.closest(key))
    assert sorted(key for key, _ in job.published) == sorted(set(keys))
    return job


@given(st.integers(0, 2**32), st.integers(1, 150), st.integers(1, 40))
def test_publish_sends_each_key_to_exactly_its_closest_nodes(seed: int, size: int, count: int) -> None:
    """Whether a key had a lookup or shared one."""
    publish_all(World(seeded(seed), size), count)


@pytest.mark.parametrize("seed", range(8))
def test_shared_lookups_are_exact_in_larger_networks(seed: int) -> None:
    """Where a lookup sees only a part of the network, a key is served by it only if its 16 closest are in that part."""
    job = publish_all(World(seeded(seed), 400), 120)
    assert job.lookups < 60


def test_neighbouring_keys_share_lookups() -> None:
    """A thousand keys in a network of 300 nodes cost fewer than 60 lookups."""
    world = World(seeded(9), 300)
    keys = [world.entropy.randbytes(32) for _ in range(1000)]
    job = Publishing(world, keys)
    drive(job.query, world)
    assert job.lookups < 60
    assert len(job.published) == 1000


def test_records_leave_while_the_lookup_still_runs() -> None:
    """The first record is sent as soon as its place is certain, before the lookup has ended."""
    world = World(seeded(10), 300)
    key = world.entropy.randbytes(32)
    job = Publishing(world, [key])
    run = drive(job.query, world)
    kinds = [ask.kind for ask in run.asks]
    last = max(i for i, kind in enumerate(kinds) if kind != Kind.ADD_PROVIDER)
    assert kinds.index(Kind.ADD_PROVIDER) < last


def test_many_keys_leave_at_their_rate() -> None:
    """Keys that share a neighbourhood leave at the given rate, not all at once."""
    world = World(seeded(11), 30)
    job = Publishing(world, [world.entropy.randbytes(32) for _ in range(108)], rate=50.0)
    run = drive(job.query, world)
    assert run.ended >= 100 / 50.0
    assert len(job.published) == 108


def test_silent_nodes_that_may_live_get_the_record_too() -> None:
    """One lost answer does not cost a node its record; a send that fails is not tried again for the next key."""
    world = World(seeded(12), 60)
    key = world.entropy.randbytes(32)
    unlucky = world.closest(key)[3]
    world.delay = lambda i: None if i == unlucky else 0.03
    job = Publishing(world, [key])
    job.query._may_live = lambda node_id: True
    run = drive(job.query, world)
    assert unlucky in job.receivers(run, key)


def test_silent_nodes_take_the_places_of_missing_ones() -> None:
    """Where few nodes answer in time, a record goes to k nodes all the same, if they may well be alive."""
    world = World(seeded(14), 20)
    key = world.entropy.randbytes(32)
    prompt = set(world.closest(key)[:4])
    world.delay = lambda i: 0.03 if i in prompt else 0.9
    job = Publishing(world, [key])
    job.query._may_live = lambda node_id: True
    run = drive(job.query, world)
    assert set(job.receivers(run, key)) >= set(world.closest(key))


def test_publishing_nothing_and_publishing_to_nobody_end() -> None:
    """No keys: done at once. No nodes: every key is published to nobody."""
    world = World(seeded(13), 3, 1.0)
    assert Publishing(world, []).query.done
    job = Publishing(world, [bytes(32), b"\x01" * 32])
    drive(job.query, world)
    assert job.published == [(bytes(32), 0), (b"\x01" * 32, 0)]
