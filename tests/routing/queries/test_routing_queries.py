"""Lookups and searches as pure state machines, driven in a static network."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.holders import CountHolders
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.providers import FindProviders
from codexdht.routing.queries.query import Ask, Shape
from codexdht.routing.queries.resolve import Resolve

OWN = b"\xaa" * 32
ALPHA, LIMIT, EXPECTED = 3, 8, 0.1
ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))


def record_of(node_id: bytes, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord(node_id + bytes([seq]), node_id[:33], node_id, seq, (ADDRESS,))


def appraise(node_id: bytes, now: float) -> tuple[float, bool]:
    return EXPECTED, False


networks = st.tuples(st.integers(0, 2**32), st.integers(1, 120), st.sampled_from([0.0, 0.1, 0.5, 1.0]))


@given(networks)
def test_a_lookup_ends_asks_nobody_the_same_twice_and_keeps_its_limit(
    make_world: Any,
    network: tuple[int, int, float],
) -> None:
    """Whatever share of the network is dead."""
    seed, size, dead = network
    world = make_world(seeded(seed), size, dead)
    query = world.lookup(world.entropy.randbytes(32))
    run = world.drive(query)
    assert max(Counter((ask.record.node_id, ask.about) for ask in run.asks).values()) == 1
    assert run.most <= LIMIT
    assert query.next(run.ended + 9) == []
    assert not {r.node_id for r in query.closest()} & world.dead


@given(st.integers(0, 2**32), st.integers(1, 150))
def test_a_lookup_finds_the_k_closest_of_a_static_network(make_world: Any, seed: int, size: int) -> None:
    """Where everybody answers in time and knows its neighbours, the result is exact."""
    world = make_world(seeded(seed), size)
    query = world.lookup(world.entropy.randbytes(32))
    world.drive(query)
    assert [r.node_id for r in query.closest()] == world.closest(query.target)


def test_a_lookup_finds_nearly_all_among_dead_nodes(make_world: Any) -> None:
    """With a fifth of the nodes dead and some of them still named by others, 15.8 of 16 are found on average."""
    found = []
    for seed in range(12):
        world = make_world(seeded(seed), 300, 0.2)
        query = world.lookup(world.entropy.randbytes(32))
        world.drive(query)
        found.append(len({r.node_id for r in query.closest()} & set(world.closest(query.target))))
    assert sum(found) / len(found) >= 15.8


def test_a_slow_node_loses_its_place_but_its_late_answer_counts(make_world: Any) -> None:
    """After its expected time the next node is asked; an answer that comes while the lookup runs is used."""
    world = make_world(seeded(1), 100)
    query = world.lookup(world.entropy.randbytes(32))
    first = query.next(0.0)
    assert len(first) == ALPHA
    assert query.next(EXPECTED / 2) == []
    assert query.wake(EXPECTED / 2) == EXPECTED
    second = query.next(EXPECTED)
    assert len(second) == ALPHA
    query.on_answer(first[0], EXPECTED + 0.01)
    assert [r.node_id for r in query.closest()] == [first[0].record.node_id]


def test_slow_nodes_never_push_a_lookup_over_its_limit(make_world: Any) -> None:
    """Even if nobody answers, no more than the limit is in flight."""
    world = make_world(seeded(2), 100)
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


def test_resolve_asks_the_node_itself_as_soon_as_it_is_known(make_world: Any) -> None:
    """The record comes from the node itself, newer than what others said of it, and the search ends there."""
    world = make_world(seeded(3), 200)
    target = world.ids[50]
    query = world.lookup(target, kind=Resolve)
    run = world.drive(query)
    assert query.record_of(target) == record_of(target, 9)
    own = [ask for ask in run.asks if ask.record.node_id == target]
    assert [ask.kind for ask in own] == [Kind.FIND_NODE]
    assert len(run.asks) < 30


def test_resolve_of_a_dead_node_gives_what_others_know(make_world: Any) -> None:
    """The newest record that anybody had is returned, after the whole search."""
    world = make_world(seeded(4), 100)
    target = world.ids[5]
    world.delay = lambda i: None if i == target else 0.03
    query = world.lookup(target, kind=Resolve)
    world.drive(query)
    assert query.record_of(target) == record_of(target)


def find(world: Any, key: bytes, limit: int = 20) -> FindProviders:
    return FindProviders(world.lookup(key), limit, OWN, appraise)


@given(networks)
def test_find_providers_ends_and_asks_nobody_the_same_twice(
    make_world: Any, network: tuple[int, int, float]
) -> None:
    """No node gets one request twice, and no more than both limits are in flight."""
    seed, size, dead = network
    world = make_world(seeded(seed), size, dead)
    query = find(world, world.entropy.randbytes(32))
    for holder in world.closest(query.target)[:3]:
        world.held[holder] = [record_of(b"\x01" * 32)]
    run = world.drive(query)
    assert max(Counter((ask.record.node_id, ask.kind, ask.about) for ask in run.asks).values()) == 1
    assert run.most <= LIMIT + 2 * 16


def test_find_providers_asks_while_the_lookup_still_runs(make_world: Any) -> None:
    """A record at the closest nodes is found within a few round trips, long before a lookup would have ended."""
    world = make_world(seeded(5), 300)
    world.delay = lambda i: 0.05
    key = world.entropy.randbytes(32)
    whole = world.drive(world.lookup(key)).ended
    provider = record_of(b"\x01" * 32)
    world.held = {holder: [provider] for holder in world.closest(key)}
    query = find(world, key)
    run = world.drive(query)
    assert query.providers == [provider]
    assert run.ended <= whole / 2


def test_find_providers_stops_at_its_limit_with_one_record_each(make_world: Any) -> None:
    """Of each provider the highest seq is kept, our own record is left out, and the limit ends the search at once."""
    world = make_world(seeded(6), 100)
    key = world.entropy.randbytes(32)
    many = [record_of(bytes([i]) * 32, seq) for i in range(1, 40) for seq in (1, 2)]
    world.held = {i: [record_of(OWN), *many] for i in world.ids}
    query = find(world, key, limit=20)
    world.drive(query)
    assert len(query.providers) == 20
    assert len({r.node_id for r in query.providers}) == 20
    assert OWN not in {r.node_id for r in query.providers}


def test_nothing_to_find_is_an_empty_list(make_world: Any) -> None:
    """Without providers every one of the k closest is asked before the search ends."""
    world = make_world(seeded(7), 100)
    query = find(world, world.entropy.randbytes(32))
    run = world.drive(query)
    assert query.providers == []
    asked = {ask.record.node_id for ask in run.asks if ask.kind == Kind.GET_PROVIDERS}
    assert asked >= set(world.closest(query.target))


def test_slow_holders_are_waited_for_while_nothing_is_found(make_world: Any) -> None:
    """Where half of the nodes near a key have said that they hold nothing, and the others are slower than expected,
    the answers of those still come to be heard."""
    world = make_world(seeded(8), 12)
    key = world.entropy.randbytes(32)
    provider = record_of(b"\x01" * 32)
    world.held = {holder: [provider] for holder in world.closest(key)[::2]}
    world.delay = lambda i: 0.9 if i in world.held else 0.03
    query = find(world, key)
    world.drive(query)
    assert query.providers == [provider]


def test_holders_are_counted_among_the_closest(make_world: Any) -> None:
    """The share of the k closest that answer with our own record."""
    world = make_world(seeded(8), 100)
    key = world.entropy.randbytes(32)
    for holder in world.closest(key)[4:]:
        world.held[holder] = [record_of(OWN)]
    query = CountHolders(world.lookup(key), 1 << 30, OWN, appraise)
    world.drive(query)
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
