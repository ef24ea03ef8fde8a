"""What users, other actors and the store get wrong or leave undone, and how a routing machine goes on."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    CallAnswer,
    Close,
    Done,
    Failed,
    FindProviders,
    Life,
    ListProvided,
    LoadTable,
    LocalRecords,
    Lookup,
    NodeLife,
    PeerSeen,
    PingNode,
    Publish,
    PutProvided,
    Resolve,
    Start,
    Talk,
    Withdraw,
)
from codexdht.records import RecordCache, SignedPeerRecord, sign_record
from codexdht.routing import snapshot
from codexdht.routing.fastnodes import FastSupport
from codexdht.routing.queries.candidate import State
from codexdht.routing.queries.lookup import Lookup as LookupQuery
from codexdht.routing.queries.providers import FindProviders as FindProvidersQuery
from codexdht.routing.queries.query import FARTHEST, Shape
from codexdht.routing.queries.surroundings import Surroundings
from codexdht.routing.settings import RoutingSettings

API = Actor.API
KEY = b"\x42" * 32


def replies(peer: Any, number: int) -> list[Any]:
    return [m for actor, m in peer.said if actor is API and getattr(m, "request", None) == number]


def queries(peer: Any, deadline: float) -> list[Any]:
    """One of each kind."""
    return [
        Lookup(API, 1, deadline, KEY),
        Resolve(API, 2, deadline, KEY),
        FindProviders(API, 3, deadline, KEY, 0),
        Publish(API, 4, deadline, [KEY], peer.record.encoded),
        PingNode(API, 5, deadline, KEY, b""),
        Talk(API, 6, deadline, KEY, b"", b"p", b"q"),
    ]


def test_every_query_of_a_closed_node_is_refused(swarm: Any) -> None:
    """Each kind gets one `not_running`, and nobody is asked anything."""
    me = swarm.add(life=False)
    swarm.tell(me, NodeLife(API, Life.CLOSED))
    for request in queries(me, swarm.now + 1):
        swarm.tell(me, request)
        assert replies(me, request.request) == [
            Failed(request.request, "not_running", "the node is not open")
        ]
    assert me.calls == []
    assert not any(isinstance(message, PutProvided) for _, message in me.said)


def test_queries_from_before_the_life_is_known_are_answered_once(swarm: Any) -> None:
    """A restarted process finds queries that were asked of the last one. It leaves them: they come again behind the
    life, and no query of a running node is told that the node is not open."""
    me = swarm.add(life=False)
    early = queries(me, swarm.now + 1)
    swarm.tell(me, *early)
    assert [replies(me, request.request) for request in early] == [[]] * 6
    assert me.counters["queries_before_life"] == 6
    swarm.tell(me, NodeLife(API, Life.STARTED), *early)
    swarm.run(1)
    answers = [replies(me, request.request) for request in early]
    assert [len(given) for given in answers] == [1] * 6
    assert not any(isinstance(given, Failed) and given.code == "not_running" for [given] in answers)


def test_closing_ends_what_is_under_way(swarm: Any) -> None:
    """A user's query is answered with what it has when the node closes, once, and not at its deadline."""
    peers = swarm.grow(10)
    for peer in peers[1:]:
        peer.alive = False
    me = peers[0]
    swarm.tell(me, Lookup(API, 1, swarm.now + 30, KEY), Close(API, 2, swarm.now + 5))
    assert replies(me, 1) == [Done(1, {"nodes": [], "complete": False})]
    swarm.run(31)
    assert len(replies(me, 1)) == 1


def test_a_node_that_closes_before_its_table_is_loaded(swarm: Any) -> None:
    """What the store answers to the former life of the node starts nothing in this one."""
    others = swarm.grow(5)
    table = snapshot.dump(others[0].machine.table, 0.0)
    me = swarm.add(life=False, stored={"LoadTable": table})
    swarm.tell(me, Start(API, 1, swarm.now + 1), Close(API, 2, swarm.now + 5))
    swarm.run(60)
    assert me.calls == []
    assert len(me.machine.table) == 0
    assert sum(isinstance(message, LoadTable) for _, message in me.said) == 1


def test_records_of_other_actors_that_do_not_decode(swarm: Any) -> None:
    """They are counted; our own record stays the one that was told before."""
    me = swarm.add()
    swarm.tell(me, LocalRecords(b"junk", b""), PeerSeen(KEY, "9.9.9.9", 9, b"junk", False))
    assert me.counters["local_records_bad"] == 1
    assert me.counters["peer_seen_bad_record"] == 1
    assert me.machine.local.record == me.record


def test_a_saved_node_without_an_endpoint_is_left_out(swarm: Any, signer: Any) -> None:
    """A snapshot of before the node's addresses were changed by configuration may hold such."""
    peers = swarm.grow(3)
    rows = snapshot.dump(peers[0].machine.table, 0.0)
    rows.append(rows[0] | {"record": sign_record(signer.key(), 1, []).encoded})
    loaded = snapshot.load(rows, 0.0, "public", RecordCache(10))
    assert len(loaded) == len(rows) - 1


def test_a_talk_answer_that_does_not_decode(swarm: Any) -> None:
    """The user hears so, and it is counted."""
    me, other = swarm.grow(2)
    swarm.script = lambda peer, call: [CallAnswer(call.call, Kind.TALK_RESP, b"\xff", 0.1, False)]
    swarm.ask(me, Talk(API, 1, swarm.now + 1, other.record.node_id, b"", b"p", b"q"))
    [failed] = replies(me, 1)
    assert failed.code == "timeout"
    assert "does not decode" in failed.text
    assert me.counters["call_answers_undecodable"] == 1


def test_a_node_that_nobody_knows_cannot_be_pinged(swarm: Any) -> None:
    """An id that leads to no record is told as such."""
    me = swarm.grow(5)[0]
    swarm.ask(me, PingNode(API, 1, swarm.now + 3, KEY, b""), 4)
    assert replies(me, 1) == [Failed(1, "timeout", "no node with this id was found")]


def test_no_room_for_another_call(swarm: Any) -> None:
    """When as many requests are in flight as may be, a user's ping is `busy`."""
    gone = [swarm.signer.record() for _ in range(3)]
    me = swarm.add(settings=RoutingSettings(max_calls=2))
    for number, record in enumerate(gone):
        swarm.tell(me, PingNode(API, number, swarm.now + 1, b"", record.encoded))
    assert replies(me, 2) == [Failed(2, "busy", "too many requests to peers are in flight")]


def test_users_need_not_wait_for_nodes_that_are_silent(swarm: Any) -> None:
    """A publication is complete for its user when all that answer have the record; silent nodes may still get it."""
    peers = swarm.grow(30)
    me = peers[0]
    swarm.run(60)
    silent = swarm.closest(KEY, me)[3:6]
    swarm.script = lambda peer, call: [] if call.node_id in silent else None
    begun = len(me.calls)
    swarm.tell(me, Publish(API, 1, swarm.now + 3, [KEY], me.record.encoded))
    swarm.run(0.95)
    assert {call.node_id for call in me.calls[begun:]} >= set(silent)
    [done] = replies(me, 1)
    assert done.value["complete"]
    assert done.value["nodes"][0] >= 13


def test_a_store_that_does_not_list_is_asked_again(swarm: Any) -> None:
    """What is provided is published a minute later when the store did not answer the first time."""
    swarm.grow(20)
    me = swarm.join(life=False, stored={"ListProvided": lambda m: items if m.start <= KEY else []})
    items: Any = None
    swarm.tell(me, Start(API, 0, swarm.now + 1))
    swarm.run(60)
    assert any(isinstance(message, ListProvided) for _, message in me.said)
    items = [[KEY, 0.0, b""]]
    swarm.run(70)
    assert sum(KEY in peer.providers for peer in swarm.peers.values()) >= 16


def test_withdrawn_after_it_was_published(swarm: Any) -> None:
    """A key that was sent to its nodes, but is not written down as published yet, is not written down any more."""
    swarm.grow(20)
    me = swarm.join()
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    while not me.machine._published._remembered._fresh:
        swarm.run(0.05)
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    before = sum(isinstance(message, PutProvided) for _, message in me.said)
    swarm.run(20)
    assert sum(isinstance(message, PutProvided) for _, message in me.said) == before


def test_published_with_another_record_right_after_it_was_published(swarm: Any) -> None:
    """What is written down later of the first publication does not bring its record back."""
    peers = swarm.grow(20)
    me, own = swarm.add([peers[0].record]), swarm.signer.record().encoded
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    while not me.machine._published._remembered._fresh:
        swarm.run(0.05)
    for peer in peers:
        peer.alive = False
    swarm.tell(me, Publish(API, 2, swarm.now + 5, [KEY], own))
    swarm.run(10)
    assert [m.record for _, m in me.said if isinstance(m, PutProvided)] == [b"", own]


def test_half_of_the_nodes_gone_is_too_few(swarm: Any) -> None:
    """Also where those that are left would be enough for a small network, more are looked for."""
    me = swarm.add()
    records = [swarm.signer.record() for _ in range(60)]
    for record in records:
        me.machine.table.answered(record, 0.1, swarm.now)
    assert me.machine.table.peak == 60
    for record in records[:30]:
        me.machine.table.remove(record.node_id)
    assert not me.machine._maintenance.is_low()
    me.machine.table.remove(records[30].node_id)
    assert me.machine._maintenance.is_low()


def test_nodes_that_may_lack_the_fast_kind_are_bounded() -> None:
    """However many nodes do not answer, the timeouts of 1024 are remembered, of those asked last."""
    fast = FastSupport()
    for _ in range(2):
        for number in range(2000):
            fast.timed_out(number.to_bytes(32, "big"), Kind.FIND_NODE_FAST)
    assert len(fast._timeouts) == 1024
    assert (1999).to_bytes(32, "big") in fast._timeouts


def record_at(distance: int, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord(b"%d %d" % (distance, seq), b"", distance.to_bytes(32, "big"), seq, ())


def test_a_lookup_keeps_the_nearest_and_knows_where_it_left_some_out() -> None:
    """Of four times the width, the farthest that was not asked gives way to a nearer one, never the other way."""
    near = Surroundings(0, 1)
    for distance in (10, 20, 30, 40):
        near.add(record_at(distance))
    assert near.cut == FARTHEST
    near.add(record_at(50))
    assert (near.cut, near.distances) == (50, [10, 20, 30, 40])
    asked = near.get(record_at(40).node_id)
    assert asked is not None
    asked.state = State.ASKED
    near.add(record_at(5))
    assert (near.cut, near.distances) == (30, [5, 10, 20, 40])
    assert near.get(record_at(30).node_id) is None


def test_of_each_provider_the_newest_record_is_told() -> None:
    """In the order of first sight, without our own, and no more than were asked for."""
    own = bytes(32)
    lookup = LookupQuery(KEY, own, Shape(16, 3, 24), lambda node_id, now: (0.1, False))
    query = FindProvidersQuery(lookup, 2, own, lambda node_id, now: (0.1, False))
    for distance, seq in ((1, 5), (1, 7), (1, 6), (0, 9)):
        query.add_providers([record_at(distance, seq)])
    assert not query.done
    query.add_providers([record_at(2), record_at(3)])
    assert query.done
    assert query.providers == [record_at(1, 7), record_at(2)]


def test_a_lookup_keeps_the_newer_record_of_a_node() -> None:
    """Whatever the order in which others tell of it."""
    near = Surroundings(0, 4)
    for seq in (1, 3, 2):
        near.add(record_at(10, seq))
    known = near.get(record_at(10).node_id)
    assert known is not None
    assert known.record.seq == 3
    assert near.distances == [10]


class Memory:
    """What a store remembers of keys that are provided: when each was published."""

    def __init__(self, keys: list[bytes]) -> None:
        self.items = dict.fromkeys(keys, 0.0)

    def answers(self) -> dict[str, Any]:
        return {"PutProvided": self.put, "ListProvided": self.list}

    def put(self, message: PutProvided) -> None:
        self.items.update((key, unix) for key, unix in message.items)

    def list(self, message: ListProvided) -> list[list[Any]]:
        keys = sorted(key for key in self.items if key >= message.start)
        return [[key, self.items[key], b""] for key in keys[: message.limit]]


def test_what_was_published_just_before_the_end_is_written_down(swarm: Any) -> None:
    """A process that is told to stop leaves with the store when its keys were published."""
    boot = swarm.grow(20)[0].record
    me = swarm.add([boot])
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    while not me.machine._published._remembered._fresh:
        swarm.run(0.05)
    me.machine.stop(swarm.now)
    said = [message for _, messages in me.machine.outbox.take() for message in messages]
    [put] = [message for message in said if isinstance(message, PutProvided)]
    assert [key for key, _ in put.items] == [KEY]
    assert all(unix > 0 for _, unix in put.items)


def test_a_node_that_provides_more_than_a_page_of_keys(swarm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a start all that is overdue is published, page by page."""
    monkeypatch.setattr("codexdht.routing.published._PAGE", 4)
    boot = swarm.grow(5)[0].record
    memory = Memory([bytes([number]) * 32 for number in range(1, 12)])
    swarm.add([boot], stored=memory.answers())
    swarm.run(90)
    assert all(memory.items.values())


def test_a_publication_that_a_close_has_ended_is_made_up_for(swarm: Any) -> None:
    """Keys that were on their way when the node closed are published when it has started again."""
    boot = swarm.grow(5)[0].record
    memory = Memory([])
    me = swarm.add([boot], stored=memory.answers())
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    swarm.run(0.002)
    swarm.tell(me, Close(API, 2, swarm.now + 1))
    swarm.run(5)
    assert memory.items == {KEY: 0.0}
    swarm.tell(me, Start(API, 3, swarm.now + 1))
    swarm.run(120)
    assert memory.items[KEY] > 0
