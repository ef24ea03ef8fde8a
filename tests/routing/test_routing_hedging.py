"""How a lookup goes on past nodes that do not answer, and how it ends when the closest nodes are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, Lookup
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.lookup import Lookup as LookupQuery
from codexdht.routing.queries.providers import FindProviders
from codexdht.routing.queries.query import Ask, Shape
from codexdht.routing.queries.runner import QueryRunner

OWN = b"\xaa" * 32
TARGET = bytes(32)
SHAPE = Shape(width=16, alpha=3, limit=24, last=16)
EXPECTED = 0.1
ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))


def record_of(node_id: bytes) -> SignedPeerRecord:
    return SignedPeerRecord(node_id, node_id, node_id, 1, (ADDRESS,))


def appraise(_node_id: bytes, _now: float) -> tuple[float, bool]:
    return EXPECTED, False


@pytest.fixture
def query() -> LookupQuery:
    """A lookup that knows 40 nodes, and can learn of no others."""
    query = LookupQuery(TARGET, OWN, SHAPE, appraise)
    query.add(record_of(bytes(30) + bytes((1, i + 1))) for i in range(40))
    return query


def ranks(asks: list[Ask]) -> list[int]:
    return [ask.record.node_id[31] - 1 for ask in asks]


def test_every_node_that_is_late_makes_room_for_two(query: LookupQuery) -> None:
    """The dead are not met one after the other: 3 requests, then 6 more, then 12; and never more than the limit."""
    counts = [len(query.next(step * EXPECTED)) for step in range(5)]
    assert counts == [3, 6, 12, 3, 0]


def test_a_late_node_is_replaced_before_it_is_given_up(query: LookupQuery) -> None:
    """All but one of the 16 closest answer: the 17th is asked when the one is late, and both are waited for."""
    first = query.next(0.0)
    for ask in first[1:]:
        query.on_answer(ask, 0.05)
    others = query.next(0.05)
    query.on_answer(others[0], 0.06)
    others += query.next(EXPECTED)
    for ask in others[1:]:
        query.on_answer(ask, 0.15)
    assert ranks(others)[-1] == 16
    assert query.next(0.16) == []
    assert not query.done


def test_once_the_nearest_have_answered_all_others_are_asked_at_once(query: LookupQuery) -> None:
    """Three answers say which nodes are the closest; the other 13 are asked together."""
    for ask in query.next(0.0):
        query.on_answer(ask, 0.05)
    assert ranks(query.next(0.05)) == list(range(3, 16))


def test_nothing_is_complete_while_nobody_has_answered(query: LookupQuery) -> None:
    """A lookup whose every request is late goes on until each of them has failed."""
    asks = [ask for step in range(9) for ask in query.next(step * EXPECTED)]
    while asks:
        assert not query.done
        query.on_timeout(asks.pop(), 2.0)
        asks += query.next(2.0)
    assert query.done


def test_who_does_not_answer_one_question_is_not_asked_another() -> None:
    """A node that leaves a GET_PROVIDERS unanswered is not asked for nodes; others are, in its place."""
    lookup = LookupQuery(TARGET, OWN, SHAPE, appraise)
    lookup.add(record_of(bytes(30) + bytes((1, i + 1))) for i in range(40))
    query = FindProviders(lookup, 20, OWN, appraise)
    gets: dict[int, Ask] = {}
    split(query.next(0.0), gets)
    query.on_answer(Ask(gets[0].record, Kind.FIND_NODE_FAST, TARGET), 0.05)
    split(query.next(0.05), gets)
    for rank in range(10, 14):
        query.on_timeout(gets[rank], 0.2)
    asked = [rank for step in range(9) for rank in ranks(split(query.next(0.2 + step), gets))]
    assert asked
    assert set(asked).isdisjoint(range(10, 14))


def split(asks: list[Ask], gets: dict[int, Ask]) -> list[Ask]:
    """Return the FIND_NODE_FASTs; keep the others by rank."""
    gets.update(
        {rank: ask for rank, ask in zip(ranks(asks), asks, strict=True) if ask.kind == Kind.GET_PROVIDERS}
    )
    return [ask for ask in asks if ask.kind != Kind.GET_PROVIDERS]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_lookup_is_complete_within_a_users_second(make_swarm: Callable[..., Any], seed: int) -> None:
    """Among 40 nodes with round trips of up to 200 ms, the 16 closest have all answered before the deadline of 1 s."""
    swarm = make_swarm(seed, latency=(0.05, 0.2))
    peers = swarm.grow(40)
    swarm.run(30)
    entropy = seeded(seed)
    for number, peer in enumerate(peers[:10]):
        target = entropy.randbytes(32)
        found = swarm.ask(peer, Lookup(Actor.API, number + 1, swarm.now + 1.0, target), 1.0)
        assert found["complete"]
        assert found["nodes"] == [swarm.peers[i].record.encoded for i in swarm.closest(target, peer)]


def test_a_lookup_is_looked_at_when_there_is_something_new(
    make_swarm: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody answers in time: after the start there is one look for each packet of an answer, and none because a
    request would be late by now if it had not been answered."""
    seen: Counter[str] = Counter()
    swarm = make_swarm(latency=(0.02, 0.03))
    peer = swarm.grow(30)[7]
    swarm.run(30)
    for kind, name in ((LookupQuery, "next"), (QueryRunner, "call_answered")):
        monkeypatch.setattr(kind, name, _counted(getattr(kind, name), seen))
    assert swarm.ask(peer, Lookup(Actor.API, 1, swarm.now + 1.0, TARGET), 1.0)["complete"]
    assert seen["next"] <= 1 + seen["call_answered"]


def _counted(function: Callable[..., Any], seen: Counter[str]) -> Callable[..., Any]:
    def counted(*args: Any) -> Any:
        seen[function.__name__] += 1
        return function(*args)

    return counted
