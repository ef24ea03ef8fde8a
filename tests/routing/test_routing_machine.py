"""Routing machines joined by an in-memory network: what users ask, life, and other actors that start again."""

from __future__ import annotations

import gc
from typing import Any

from codexdht.messages.discv5 import MAX_BODY, TalkRequest, encode_talk_request
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    CallFailed,
    Close,
    Done,
    DropProvided,
    DumpTable,
    Failed,
    FindProviders,
    GetProviders,
    Hello,
    Life,
    LoadTable,
    Lookup,
    NodeLife,
    PingNode,
    Publish,
    Resolve,
    Stats,
    Talk,
    Withdraw,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
KEY = b"\x42" * 32


def test_a_network_forms_from_one_bootstrap_node(swarm: Any) -> None:
    """Thirty nodes that know only the first one come to know most others."""
    peers = swarm.grow(30)
    swarm.run(60)
    for peer in peers:
        assert len(peer.machine.table) >= 20


def test_who_asks_right_after_the_start_is_answered_from_the_network(swarm: Any) -> None:
    """Before the bootstrap nodes have said that they are there, a lookup asks them itself: that nothing is found, or
    that a key was sent to nobody, is never said because the table is empty."""
    peers = swarm.grow(25)
    me = swarm.add([peers[0].record])
    swarm.tell(
        me, Lookup(API, 1, swarm.now + 1, KEY), Resolve(API, 2, swarm.now + 1, peers[9].record.node_id)
    )
    swarm.tell(me, Publish(API, 3, swarm.now + 1, [KEY], me.record.encoded))
    swarm.run(1)
    found = me.answer(1)
    assert found["complete"]
    assert found["nodes"] == [swarm.peers[i].record.encoded for i in swarm.closest(KEY, me)]
    assert me.answer(2) == peers[9].record.encoded
    assert me.answer(3)["nodes"][0] >= 15


def test_the_first_node_of_a_network_is_answered_at_once(swarm: Any) -> None:
    """It has nobody to ask, not even itself, should it be among its bootstrap nodes."""
    record = swarm.signer.record()
    me = swarm.add([record], record=record)
    swarm.tell(me, Lookup(API, 1, swarm.now + 1, KEY))
    assert me.answer(1) == {"nodes": [], "complete": True}


def test_lookup_resolve_ping_talk_table(swarm: Any) -> None:
    """Every user request over a network of 25 nodes."""
    peers = swarm.grow(25)
    me, other = peers[3], peers[20]
    found = swarm.ask(me, Lookup(API, 1, swarm.now + 2, KEY))
    assert found["complete"]
    closest = [swarm.peers[i].record.encoded for i in swarm.closest(KEY, me)]
    assert found["nodes"] == closest
    assert swarm.ask(me, Resolve(API, 2, swarm.now + 2, other.record.node_id)) == other.record.encoded
    assert swarm.ask(me, Resolve(API, 3, swarm.now + 2, me.record.node_id)) == me.record.encoded
    assert swarm.ask(me, Resolve(API, 4, swarm.now + 2, b"\x01" * 32)) is None
    pong = swarm.ask(me, PingNode(API, 5, swarm.now + 2, other.record.node_id, b""))
    assert (pong["seq"], (pong["host"], pong["port"])) == (1, me.record.endpoint)
    assert 0.02 <= pong["rtt"] <= 0.08
    assert swarm.ask(me, PingNode(API, 6, swarm.now + 2, b"", other.record.encoded))["seq"] == 1
    assert swarm.ask(me, Talk(API, 7, swarm.now + 2, other.record.node_id, b"", b"p", b"q")) == b"hello"
    rows = swarm.ask(me, DumpTable(API, 8, swarm.now + 2))
    assert {"record", "bucket", "rtt", "reliability", "last_seen"} <= rows[0].keys()
    assert len(rows) == len(me.machine.table)
    stats = swarm.ask(me, Stats(API, 9, swarm.now + 2))
    assert stats["gauges"]["table_entries"] == len(rows)


def test_publish_then_find(swarm: Any) -> None:
    """A record published by one node is held by the 16 closest and found by another, which asks its own store too."""
    peers = swarm.grow(40)
    provider, seeker = peers[7], peers[30]
    sent = swarm.ask(provider, Publish(API, 1, swarm.now + 3, [KEY], provider.record.encoded), 5)
    assert sent["complete"]
    assert sent["nodes"][0] >= 16
    holders = {i for i, p in swarm.peers.items() if KEY in p.providers}
    assert holders >= set(swarm.closest(KEY, provider))
    found = swarm.ask(seeker, FindProviders(API, 2, swarm.now + 1, KEY, 0))
    assert found == {"providers": [provider.record.encoded], "complete": True}
    assert any(isinstance(m, GetProviders) and m.key == KEY for _, m in seeker.said)
    assert swarm.ask(provider, FindProviders(API, 3, swarm.now + 1, KEY, 0))["providers"] == []


def test_what_the_own_store_holds_is_found_without_a_network(swarm: Any) -> None:
    """Alone, a node answers at once with the providers in its store."""
    record = swarm.signer.record().encoded
    peer = swarm.add(stored={"GetProviders": [record, b"junk"]})
    found = swarm.ask(peer, FindProviders(API, 1, swarm.now + 1, KEY, 1))
    assert found == {"providers": [record], "complete": True}
    assert peer.counters["providers_bad_record"] == 1


def test_nobody_answers(swarm: Any) -> None:
    """With every other node gone each request still gets its answer just before its deadline."""
    peers = swarm.grow(20)
    me = peers[0]
    for peer in peers[1:]:
        peer.alive = False
    start = swarm.now
    for number, request in enumerate(
        [Lookup(API, 1, start + 0.5, KEY), FindProviders(API, 2, start + 0.5, KEY, 0)]
    ):
        swarm.tell(me, request)
        assert me.reply(number + 1) is None
    swarm.tell(me, Publish(API, 3, start + 0.5, [KEY], me.record.encoded))
    swarm.tell(me, PingNode(API, 4, start + 2, peers[1].record.node_id, b""))
    swarm.run(0.469)
    assert me.reply(1) is me.reply(2) is me.reply(3) is None
    swarm.run(0.002)
    assert me.answer(1) == {"nodes": [], "complete": False}
    assert me.answer(2) == {"providers": [], "complete": False}
    assert me.answer(3) == {"nodes": [0], "complete": False}
    swarm.run(15)
    assert me.reply(4) == Failed(4, "timeout", "the node does not answer")
    assert len([m for _, m in me.said if getattr(m, "request", None) == 1 and isinstance(m, Done)]) == 1


def test_a_silent_node_costs_its_user_no_more_than_the_time_of_the_request(swarm: Any) -> None:
    """A ping and a talk that were given less time than a call takes are answered within theirs, and only once."""
    me, other = swarm.grow(2)
    other.alive = False
    swarm.tell(
        me,
        PingNode(API, 1, swarm.now + 0.5, other.record.node_id, b""),
        Talk(API, 2, swarm.now + 0.5, other.record.node_id, b"", b"p", b"q"),
    )
    swarm.run(0.5)
    silent = [Failed(number, "timeout", "the node does not answer") for number in (1, 2)]
    assert [me.reply(number) for number in (1, 2)] == silent
    swarm.run(2)
    assert sum(isinstance(message, Failed) for actor, message in me.said if actor is API) == 2


def test_a_talk_that_was_not_sent_is_not_blamed_on_the_node(swarm: Any) -> None:
    """Too large for a packet is the user's mistake, found before anything is sent; a busy wire is told as such."""
    me, other = swarm.grow(2)
    room = MAX_BODY - len(encode_talk_request(TalkRequest(b"echo", b"x" * 500))) + 500
    before = len(me.calls)
    swarm.tell(me, Talk(API, 1, swarm.now + 1, other.record.node_id, b"", b"echo", b"x" * (room + 1)))
    assert me.reply(1).code == "invalid_params"
    assert len(me.calls) == before
    assert (
        swarm.ask(me, Talk(API, 2, swarm.now + 1, other.record.node_id, b"", b"echo", b"x" * room))
        == b"hello"
    )
    swarm.script = lambda peer, call: [CallFailed(call.call, "busy")]
    swarm.ask(me, Talk(API, 3, swarm.now + 1, other.record.node_id, b"", b"echo", b""))
    assert me.reply(3).code == "busy"


def test_partial_results_and_the_work_goes_on(swarm: Any) -> None:
    """At the deadline the user gets what is there, and the record still reaches the closest nodes afterwards."""
    peers = swarm.grow(40)
    me = peers[5]
    sent = swarm.ask(me, Publish(API, 1, swarm.now + 0.2, [KEY], me.record.encoded), 0.25)
    assert not sent["complete"]
    swarm.run(10)
    assert {i for i, p in swarm.peers.items() if KEY in p.providers} >= set(swarm.closest(KEY, me))


def test_before_open_users_are_told_so(swarm: Any) -> None:
    """Queries of a closed node fail with `not_running`; the table and the statistics are there all the same."""
    me = swarm.add(life=False)
    swarm.tell(me, NodeLife(API, Life.CLOSED))
    swarm.tell(me, Lookup(API, 1, swarm.now + 1, KEY), PingNode(API, 2, swarm.now + 1, KEY, b""))
    assert me.reply(1) == Failed(1, "not_running", "the node is not open")
    assert me.reply(2) == Failed(2, "not_running", "the node is not open")
    assert swarm.ask(me, DumpTable(API, 3, swarm.now + 1)) == []


def test_users_mistakes(swarm: Any) -> None:
    """A record that does not hold, one without an address, and our own node."""
    me = swarm.add()
    no_address = swarm.signer.record().encoded
    from codexdht.records import sign_record

    tcp = sign_record(swarm.signer.key(), 1, [b"\x04\x05\x06\x07\x08\x06\x1f\x90"]).encoded
    swarm.tell(
        me,
        PingNode(API, 1, swarm.now + 1, b"", no_address[:-1]),
        PingNode(API, 2, swarm.now + 1, b"", tcp),
        Talk(API, 3, swarm.now + 1, me.record.node_id, b"", b"p", b"r"),
    )
    codes = [me.reply(number).code for number in (1, 2, 3)]
    assert codes == ["invalid_record", "invalid_record", "invalid_params"]


def test_too_many_queries_are_refused(swarm: Any) -> None:
    """Above the bound a user is answered `busy` at once; those at work go on, and calls stay within theirs."""
    settings = RoutingSettings(max_queries=5, max_calls=30)
    me = swarm.add([swarm.signer.record() for _ in range(30)], settings)
    for record in me.machine._contacts.bootstrap:
        me.machine.table.answered(record, 0.1, swarm.now)
    for number in range(1, 9):
        swarm.tell(me, Lookup(API, number, swarm.now + 1, bytes([number]) * 32))
    refused = [n for n in range(1, 9) if me.reply(n) == Failed(n, "busy", "too many queries are at work")]
    assert len(refused) >= 3
    assert len(me.machine._calls) <= 30
    swarm.run(15)
    assert all(me.reply(number) is not None for number in range(1, 9))


def test_an_unexpected_message_is_counted(swarm: Any) -> None:
    """A message meant for another actor changes nothing."""
    me = swarm.add()
    swarm.tell(me, AddressVoted("1.1.1.1", 1))
    assert me.counters["unexpected_message"] == 1


def test_life_is_adopted_from_whoever_knows(swarm: Any) -> None:
    """A fresh process starts maintenance when another actor says that the node is started, once it has its record."""
    me = swarm.add(life=False)

    def life() -> int:
        swarm.tell(me, Hello(Actor.STORE))
        return [m.life for a, m in me.said if isinstance(m, NodeLife) and a is Actor.STORE][-1]

    assert life() == 0
    swarm.tell(me, NodeLife(Actor.STORE, 3))
    assert any(isinstance(m, LoadTable) for _, m in me.said)
    swarm.tell(me, NodeLife(Actor.WIRE, 1))
    assert life() == 3
    swarm.tell(me, NodeLife(Actor.API, 1))
    assert life() == 1


def test_a_restarted_wire_owes_nothing(swarm: Any) -> None:
    """Calls that a wire took with it fail at once, without blame for the nodes."""
    peers = swarm.grow(10)
    me = peers[0]
    swarm.script = lambda peer, call: []
    swarm.tell(me, PingNode(API, 1, swarm.now + 1, b"", peers[1].record.encoded))
    swarm.tell(me, Hello(Actor.WIRE))
    assert me.reply(1) == Failed(1, "timeout", "the node does not answer")
    entry = me.machine.table.get(peers[1].record.node_id)
    assert entry is not None
    assert entry.failures == 0


def test_a_restarted_store_is_asked_again(swarm: Any) -> None:
    """What the store owed is sent to its successor with the same numbers."""
    me = swarm.add(life=False)
    swarm.tell(me, NodeLife(Actor.API, 2), Withdraw(API, 1, swarm.now + 1, [KEY]))
    asked = [m for a, m in me.said if isinstance(m, DropProvided)]
    swarm.tell(me, Hello(Actor.STORE))
    assert [m for a, m in me.said if isinstance(m, DropProvided)] == asked * 2


def test_a_user_in_a_hurry_has_most_of_that_time(swarm: Any) -> None:
    """With 25 ms left, an answer that takes 1 ms comes, and what has none yet is given up near their end, not before
    they have begun."""
    me, other = swarm.grow(2)
    swarm.script = lambda peer, call: []
    until = swarm.now + 0.025
    swarm.tell(me, Withdraw(API, 1, until, [KEY]), PingNode(API, 2, until, b"", other.record.encoded))
    swarm.tell(me, Lookup(API, 3, until, KEY))
    swarm.run(0.015)
    assert [me.reply(number) for number in (1, 2, 3)] == [Done(1, None), None, None]
    swarm.run(0.005)
    assert me.reply(2) == Failed(2, "timeout", "the node does not answer")
    assert not me.answer(3)["complete"]


def test_a_dead_store_keeps_nobody_waiting(swarm: Any) -> None:
    """Close is answered after two seconds although the table could not be saved."""
    me = swarm.grow(3)[0]
    swarm._store = lambda peer, message: None
    swarm.tell(me, Close(API, 1, swarm.now + 3))
    swarm.run(1.5)
    assert me.reply(1) is None
    swarm.run(1)
    assert me.reply(1) == Done(1, None)


def test_the_same_seed_gives_the_same_trace(make_swarm: Any) -> None:
    """Two runs of one network send the same calls at the same times."""

    def trace() -> list[Any]:
        swarm = make_swarm(seed=4)
        swarm.grow(12)
        swarm.run(60)
        return [
            (call.call, call.deadline, call.node_id, call.kind)
            for p in swarm.peers.values()
            for call in p.calls
        ]

    assert trace() == trace()


def test_a_request_that_is_answered_leaves_nothing_behind(swarm: Any) -> None:
    """Its memory is not held until its deadline: a user may ask as much as fits in, with the longest timeout."""
    peers = swarm.grow(3)
    before = len(peers[0].machine._timers)
    node_id, record, late = peers[1].record.node_id, peers[1].record.encoded, swarm.now + 60
    for start in range(0, 200, 5):
        swarm.tell(
            peers[0],
            Lookup(API, start, late, KEY),
            FindProviders(API, start + 1, late, KEY, 0),
            PingNode(API, start + 2, late, node_id, b""),
            Talk(API, start + 3, late, node_id, b"", b"x", b"y"),
            Publish(API, start + 4, late, [KEY], record),
        )
        swarm.run(1)
    assert all(isinstance(peers[0].reply(number), Done) for number in range(200))
    assert len(peers[0].machine._timers) < before + 40
    gc.collect()
    assert sum(type(thing).__name__ == "_Run" for thing in gc.get_objects()) < 20
