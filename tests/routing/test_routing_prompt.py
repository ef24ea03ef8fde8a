"""Lookups that somebody waits for: who is asked about something, who is only sent a PING, and when a record leaves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, Call, CallAnswer, Lookup
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.candidate import Candidate
from codexdht.routing.queries.lookup import Lookup as LookupQuery
from codexdht.routing.queries.publish import Publish
from codexdht.routing.queries.query import Ask, Shape

OWN = b"\xff" * 32
TARGET = bytes(32)
EXPECTED = 0.1
WIDTH, ALPHA, LIMIT, LAST, TOLD = 16, 3, 24, 16, 6
ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))

networks = st.tuples(
    st.integers(0, 2**32),
    st.integers(20, 150),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.sampled_from([0.1, 1.0, 10.0]),
)


def record_of(distance: int) -> SignedPeerRecord:
    node_id = distance.to_bytes(32, "big")
    return SignedPeerRecord(node_id, node_id, node_id, 1, (ADDRESS,))


class Net:
    """Nodes named by their distance from the target, which is zero. Each knows the 24 nearest to itself, and others;
    those that are `fresh`, nobody."""

    def __init__(self, seed: int, size: int, dead: float = 0.0) -> None:
        self.entropy = seeded(seed)
        self.slowest = 0.15
        self.nodes = sorted(self.entropy.getrandbits(255) for _ in range(size))
        self.fresh: set[int] = set()
        self.dead = {node for node in self.nodes if self.entropy.random() < dead}
        self.others = {node: self.entropy.sample(self.nodes, min(40, size)) for node in self.nodes}

    @property
    def scale(self) -> int:
        """What a node would guess: here, what is true on average."""
        return min((1 << 255) * WIDTH // len(self.nodes), 1 << 256)

    def alive(self) -> list[int]:
        return [node for node in self.nodes if node not in self.dead]

    def named(self, ask: Ask) -> list[SignedPeerRecord]:
        own = int.from_bytes(ask.record.node_id, "big")
        if own in self.fresh:
            return []
        nearest = sorted(self.nodes, key=lambda node: node ^ own)[1:25]
        knows = {*nearest, *self.others[own]} - {own}
        about = int.from_bytes(ask.about, "big")
        return [record_of(node) for node in sorted(knows, key=lambda node: node ^ about)[:6]]

    def lookup(self, scale: int, start: list[int] | None = None) -> LookupQuery:
        shape = Shape(WIDTH, ALPHA, LIMIT, LAST, TOLD, scale)
        query = LookupQuery(TARGET, OWN, shape, lambda node_id, now: (EXPECTED, False))
        start = self.entropy.sample(self.nodes, 8) if start is None else start
        query.add(map(record_of, start))
        return query


def drive(query: Any, net: Net) -> tuple[list[Ask], int]:
    """Run a query to its end; return what it asked, and the most that was in flight."""
    now, most = 0.0, 0
    asks: list[Ask] = []
    flying: list[tuple[float, int, Ask]] = []
    for _ in range(10_000):
        for ask in query.next(now):
            is_dead = int.from_bytes(ask.record.node_id, "big") in net.dead
            delay = 1.0 if is_dead else 0.02 + net.slowest * net.entropy.random()
            flying.append((now + (0.0 if ask.kind == Kind.ADD_PROVIDER else delay), len(asks), ask))
            asks.append(ask)
        most = max(most, sum(ask.kind != Kind.ADD_PROVIDER for _, _, ask in flying))
        if query.done:
            return asks, most
        flying.sort(key=lambda flight: flight[:2])
        wake = query.wake(now)
        if flying and (wake is None or flying[0][0] <= wake):
            now, _, ask = flying.pop(0)
            finish(query, ask, net, now)
        else:
            assert wake is not None
            now = max(wake, now + 1e-4)
    raise AssertionError("the query does not end")


def finish(query: Any, ask: Ask, net: Net, now: float) -> None:
    if int.from_bytes(ask.record.node_id, "big") in net.dead:
        query.on_timeout(ask, now)
        return
    if ask.kind == Kind.FIND_NODE_FAST:
        query.on_records(ask, net.named(ask), now)
    query.on_answer(ask, now)


@given(networks)
def test_whatever_the_guess_a_lookup_ends_within_its_limits(network: tuple[int, int, float, float]) -> None:
    """With a guess ten times too small or too large, it asks nobody the same twice, and no more than its limit at once,
    and names live nodes only."""
    seed, size, dead, factor = network
    net = Net(seed, size, dead)
    query = net.lookup(min(int(net.scale * factor), 1 << 256))
    asks, most = drive(query, net)
    assert most <= LIMIT
    assert max(Counter((ask.record.node_id, ask.kind, ask.about) for ask in asks).values()) == 1
    assert {int.from_bytes(r.node_id, "big") for r in query.closest()} <= set(net.alive())


@pytest.mark.parametrize("size", [400, 2000])
def test_a_lookup_with_pings_finds_the_closest(size: int) -> None:
    """In static networks exactly the 16 closest are found, although only some of them were asked for nodes."""
    for seed in range(40):
        net = Net(seed, size)
        net.slowest = 0.05
        query = net.lookup(net.scale)
        asks, _ = drive(query, net)
        assert any(ask.kind == Kind.PING for ask in asks)
        assert [int.from_bytes(record.node_id, "big") for record in query.closest()] == net.nodes[:WIDTH]


@pytest.mark.parametrize("factor", [1, 4, 1000])
def test_nodes_that_have_just_started_end_no_lookup(factor: int) -> None:
    """Where the three nearest known nodes know nobody yet, the 16 closest are found all the same, but for one at most;
    also with a guess that is too large, by which every node known is near enough to be sent a PING and no more."""
    for seed in range(20):
        net = Net(seed, 400)
        start = sorted(net.entropy.sample(net.nodes, 80))[:WIDTH]
        net.fresh, net.slowest = set(start[:3]), 0.05
        query = net.lookup(min(net.scale * factor, 1 << 256), start)
        drive(query, net)
        found = {int.from_bytes(record.node_id, "big") for record in query.closest()}
        assert len(found & set(net.nodes[:WIDTH])) >= WIDTH - 1


def test_a_lookup_at_its_limit_may_end() -> None:
    """Requests to nodes that are not waited for any more leave no room for others, but hold nobody up once all there
    is to explore is explored."""
    query = LookupQuery(TARGET, OWN, Shape(2, ALPHA, 3, LAST, TOLD), lambda node_id, now: (EXPECTED, False))
    query.add(record_of(node) for node in range(1, 5))
    asks = query.next(0.0)
    assert len(asks) == 2
    query.on_answer(asks[0], 0.05)
    asks = [*asks[1:], *query.next(EXPECTED), *query.next(2 * EXPECTED)]
    assert len(asks) == 3
    query.next(9 * EXPECTED)
    assert query.done
    assert query.closest() == [record_of(1)]


def test_pings_take_the_place_of_questions() -> None:
    """On average a lookup that knows how near the closest are asks for nodes fewer times than one that does not."""

    def questions(scale: bool) -> int:
        nets = [Net(seed, 400) for seed in range(10)]
        asked = [drive(net.lookup(net.scale if scale else 1 << 256), net)[0] for net in nets]
        return sum(ask.kind == Kind.FIND_NODE_FAST for asks in asked for ask in asks)

    assert questions(True) < 0.8 * questions(False)


def test_without_a_guess_nobody_is_sent_a_ping() -> None:
    """A node that knows too few others to tell how near the closest are asks each of them for nodes."""
    net = Net(1, 100)
    asks, _ = drive(net.lookup(1 << 256), net)
    assert {ask.kind for ask in asks} == {Kind.FIND_NODE_FAST}


def test_the_answer_to_a_ping_shows_that_a_node_is_alive_and_tells_of_nobody() -> None:
    """It counts among the closest, but nothing is concluded from it about who else is there."""
    candidate = Candidate(record_of(3), 3)
    assert candidate.ask(TARGET, None, 0.0, EXPECTED, 1.0) == Ask(record_of(3), Kind.PING, TARGET)
    candidate.has_answered()
    assert candidate.is_alive
    assert candidate.claims == ()
    again = candidate.ask(TARGET, 2, 0.1, EXPECTED, 1.0)
    assert (again.kind, again.about) == (Kind.FIND_NODE_FAST, record_of(2).node_id)
    candidate.has_failed()
    assert candidate.is_alive


def make_publication(net: Net, may_live: bool = True) -> Publish:
    return Publish(
        [TARGET],
        b"record",
        lambda key, width, now: net.lookup(net.scale),
        may_live=lambda node_id: may_live,
        width=WIDTH,
        reach=net.scale,
        rate=1e6,
    )


@pytest.mark.parametrize("may_live", [True, False])
def test_a_record_for_a_node_that_has_not_answered_leaves_when_its_request_has_ended(may_live: bool) -> None:
    """A second message would wait for the same handshake, and fail with it. If the node is known to be unreliable, it
    gets none; the publication ends in either case, and no live node gets two."""
    net = Net(3, 200)
    unlucky = net.nodes[5]
    net.dead = {unlucky}
    query = make_publication(net)
    ended: list[int] = []
    timeout = query.on_timeout

    class Watched(Publish):
        """A publication that notes which nodes' requests have failed."""

        __slots__ = ()

        def on_timeout(self, ask: Ask, now: float) -> None:
            if ask.kind != Kind.ADD_PROVIDER:
                ended.append(int.from_bytes(ask.record.node_id, "big"))
                self._may_live = lambda node_id: may_live
            timeout(ask, now)

        def next(self, now: float) -> list[Ask]:
            asks = super().next(now)
            for ask in asks:
                if ask.kind == Kind.ADD_PROVIDER and ask.record == record_of(unlucky):
                    assert unlucky in ended
            return asks

    query.__class__ = Watched
    asks, _ = drive(query, net)
    sent = Counter(ask.record.node_id for ask in asks if ask.kind == Kind.ADD_PROVIDER)
    assert set(sent.values()) == {1}
    assert {int.from_bytes(node, "big") for node in sent} >= set(net.alive()[:WIDTH])
    assert (record_of(unlucky).node_id in sent) == may_live


def test_the_user_does_not_wait_for_nodes_that_do_not_answer() -> None:
    """A publication is settled when all of the closest that have answered have the record, long before the requests to
    dead ones have ended; those are still given it if they may live."""
    net = Net(3, 200)
    net.dead = {net.nodes[5]}
    settled: list[tuple[float, int]] = []

    class Watched(Publish):
        """A publication that notes when it is settled."""

        __slots__ = ()

        def next(self, now: float) -> list[Ask]:
            asks = super().next(now)
            if self.settled:
                settled.append((now, self.sent[TARGET]))
            return asks

    query = make_publication(net)
    assert not query.settled
    query.__class__ = Watched
    asks, _ = drive(query, net)
    assert query.done
    assert settled[0][0] < 0.8
    assert settled[0][1] == WIDTH
    assert sum(ask.kind == Kind.ADD_PROVIDER for ask in asks) == WIDTH + 1


def test_a_pong_with_a_newer_seq_fetches_the_record(swarm: Any) -> None:
    """Also where it answers a PING of a lookup, and not one of the table's maintenance."""
    peers = swarm.grow(60)
    swarm.run(20)
    me = peers[0]
    me.machine._maintenance.stop()
    changed: set[bytes] = set()

    def script(peer: Any, call: Call) -> Any:
        if peer is me and call.kind == Kind.PING:
            changed.add(call.node_id)
            pong = discv5.Pong(99, "5.5.5.5", 5)
            return [CallAnswer(call.call, Kind.PONG, discv5.encode_pong(pong), 0.05, False)]
        return None

    swarm.script = script
    me.calls.clear()
    for number in range(10):
        swarm.ask(me, Lookup(Actor.API, number + 1, swarm.now + 1.0, swarm.signer.key().public_key[:32]), 2.0)
    fetched = {
        call.node_id
        for call in me.calls
        if call.kind == Kind.FIND_NODE and discv5.decode_find_node(call.body) == [0]
    }
    assert changed
    assert fetched == changed
