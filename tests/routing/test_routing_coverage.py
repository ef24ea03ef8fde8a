"""What answers of six nodes say of a target's surroundings, and what a lookup concludes from them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.coverage import (
    Span,
    claim,
    first_gap,
    home_bits,
    is_credible,
    subtree,
    unexplored,
)
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.query import Ask, Shape
from codexdht.routing.queries.surroundings import Surroundings

ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))

points = st.integers(0, 63)
spans = st.builds(subtree, points, st.integers(0, 5))
nodes = st.lists(points, min_size=1, max_size=64, unique=True).map(sorted)


def record_of(distance: int) -> SignedPeerRecord:
    """Return the record of a node at a distance from the target, which is zero in these tests."""
    node_id = distance.to_bytes(32, "big")
    return SignedPeerRecord(node_id, node_id, node_id, 1, (ADDRESS,))


@given(st.lists(spans, max_size=8), points, points, st.integers(1, 3))
def test_the_first_gap_is_where_too_few_claims_are(
    claims: list[Span], start: int, end: int, level: int
) -> None:
    """Counted point by point."""

    def covers(point: int) -> int:
        return sum(first <= point < last for first, last in claims)

    gaps = [point for point in range(start, end) if covers(point) < level]
    assert first_gap(claims, (start, end), level) == (gaps[0] if gaps else None)


@given(nodes, points)
def test_a_claim_holds_nobody_who_was_not_named(known: list[int], about: int) -> None:
    """An answer names the six nearest nodes; no other of all nodes is in the subtree that it claims."""
    named = sorted(known, key=lambda node: node ^ about)[:6]
    start, end = claim(about, len(named), max(node ^ about for node in named))
    assert start <= about < end
    assert not [node for node in known if start <= node < end and node not in named]


@given(nodes, st.data())
def test_a_node_is_believed_about_its_home_only(known: list[int], data: st.DataObject) -> None:
    """Its home is the largest subtree around it with 16 nodes at most, and exactly what is inside is credible."""
    node = data.draw(st.sampled_from(known))
    bits = min(home_bits(node, known), 6)
    start, end = subtree(node, bits)
    assert sum(start <= other < end for other in known) <= 16
    if bits < 6:
        start, end = subtree(node, bits + 1)
        assert sum(start <= other < end for other in known) > 16
    claimed = data.draw(spans)
    first, last = subtree(node, bits)
    assert is_credible(claimed, node, known) == (first <= claimed[0] and claimed[1] <= last)


@given(nodes, points, st.integers(3, 257))
@example([*range(16, 33)], 40, 257)
@example([*range(16, 33)], 8, 257)
def test_who_is_asked_about_a_gap_is_who_would_be_believed(
    known: list[int], gap: int, scale_bits: int
) -> None:
    """Exactly those whose claim of that one id is credible, nearest to the target first."""
    surroundings = Surroundings(0, 16, scale=1 << (scale_bits - 1))
    for distance in known:
        surroundings.add(record_of(distance))
    informants = [candidate.distance for candidate in surroundings.informants(gap)]
    assert informants == [node for node in known if is_credible((gap, gap + 1), node, known, scale_bits)]


def test_a_node_is_asked_about_the_nearest_gap_around_it() -> None:
    """First what nobody has told of, nearest to the node first; then what only one has, and so on."""
    node = 0b1010, 4
    assert unexplored([(0, 8), (10, 16)], node, 16, 1) == 8
    assert unexplored([(8, 16)], node, 16, 1) == 0
    assert unexplored([(8, 16), *(subtree(point, 1) for point in (0, 2, 4))], node, 16, 1) == 6
    assert unexplored([(0, 16), (8, 10)], node, 16, 1, levels=2) == 10
    assert unexplored([(0, 16), (8, 10)], node, 16, 1) is None


def answer(query: Lookup, ask: Ask, named: list[int]) -> None:
    query.on_records(ask, [record_of(distance) for distance in named], 0.0)
    query.on_answer(ask, 0.0)


@pytest.mark.parametrize(("names_others", "believed"), [(True, 2), (False, 0)])
def test_who_knows_few_is_believed_until_a_live_node_says_otherwise(
    names_others: bool, believed: int
) -> None:
    """In a network of four, where each tells of the three others, and where none has anything to tell yet: two that do
    not know each other cannot both know all. Either way the lookup ends when each has been asked once."""
    nodes = [1 << 252, 1 << 253, 1 << 254, 1 << 255]
    query = make_lookup(4, 2, nodes)
    asked = []
    while asks := query.next(0.0):
        for ask in asks:
            answer(query, ask, [at for at in nodes if names_others and record_of(at) != ask.record])
        asked += asks
        if len(asked) == 2:
            assert len(query.certain(0.0)) == believed
    assert query.done
    assert len(asked) == len(query.closest()) == 4


def make_lookup(width: int, alpha: int, start: list[int]) -> Lookup:
    query = Lookup(bytes(32), b"\xff" * 32, Shape(width, alpha, 99), lambda node_id, now: (1.0, False))
    query.add(map(record_of, start))
    return query


def test_far_nodes_that_were_asked_keep_no_nearer_ones_out() -> None:
    """A lookup that knows of as many nodes as it keeps takes a nearer one in place of the farthest unasked one."""
    far = [1 << 255 | at for at in range(4)]
    query = make_lookup(1, 4, far)
    assert len(query.next(0.0)) == 1
    query.add([record_of(1)])
    assert query.record_of(record_of(1).node_id) is not None
    assert [query.record_of(record_of(at).node_id) is None for at in far] == [False, False, False, True]


def test_a_lookup_vouches_for_nothing_beyond_a_gap() -> None:
    """All of the closest have answered, and told of the half next to the target only: its radius ends there."""
    query = make_lookup(2, 2, [1 << 250, 1 << 251])
    asks = query.next(0.0)
    assert [ask.kind for ask in asks] == [Kind.FIND_NODE_FAST] * 2
    for ask in asks:
        answer(query, ask, [1 << bits for bits in range(244, 250)])
    assert query.radius() < 1 << 250


def test_a_node_is_asked_again_about_a_gap_that_nobody_else_can_tell_of() -> None:
    """The second request is about another point; when it is lost, the node still counts as alive."""
    start = [3 << 249, 1 << 251]
    ids = {record_of(at).node_id for at in start}
    query = make_lookup(2, 2, start)
    for ask in query.next(0.0):
        answer(query, ask, [1 << bits for bits in range(240, 246)])
    asked: list[tuple[bytes, bytes]] = []
    for step in range(20):
        for ask in query.next(float(step)):
            asked.append((ask.record.node_id, ask.about))
            query.on_timeout(ask, float(step))
    assert query.done
    assert len({about for node_id, about in asked if node_id in ids}) == 1
    assert {record.node_id for record in query.closest()} == ids
