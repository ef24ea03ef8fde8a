"""Routing machines joined by an in-memory network, and one machine among peers that lie."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.identity import log_distance
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    Call,
    CallAnswer,
    CallFailed,
    Close,
    Done,
    DropProvided,
    DumpTable,
    Failed,
    FindProviders,
    GetProviders,
    Hello,
    LoadTable,
    LocalRecords,
    Lookup,
    NodeLife,
    PeerReply,
    PeerRequest,
    PeerSeen,
    PingNode,
    Publish,
    PutProvided,
    Resolve,
    SaveTable,
    Stats,
    Talk,
    Withdraw,
)
from codexdht.records import SignedPeerRecord
from codexdht.routing.settings import RoutingSettings

API = Actor.API
KEY = b"\x42" * 32


def find_answer(call: Call, records: list[bytes], total: int = 1, rtt: float = 0.05) -> CallAnswer:
    return CallAnswer(call.call, Kind.NODES, discv5.encode_records(total, records), rtt, False)


def serve(swarm: Any, peer: Any, kind: Kind, body: bytes, client_mode: bool = False) -> list[PeerReply]:
    """Hand a peer's request in; return the replies."""
    asker = b"\x99" * 32
    request = PeerRequest(asker, "8.8.8.8", 5, b"\1\2", kind, body, client_mode, swarm.now + 1)
    before = len(peer.said)
    swarm.tell(peer, request)
    replies = [m for _, m in peer.said[before:] if isinstance(m, PeerReply)]
    assert all(reply[:4] == (asker, "8.8.8.8", 5, b"\1\2") for reply in replies)
    return replies


def served(swarm: Any, peer: Any, kind: Kind, body: bytes) -> list[bytes]:
    (reply,) = serve(swarm, peer, kind, body)
    assert reply.kind == Kind.NODES
    assert all(discv5.decode_records(body).total == len(reply.bodies) for body in reply.bodies)
    return [record for body in reply.bodies for record in discv5.decode_records(body).records]


# A network ------------------------------------------------------------------------------------------------------


def test_a_network_forms_from_one_bootstrap_node(swarm: Any) -> None:
    """Thirty nodes that know only the first one come to know most others."""
    peers = swarm.grow(30)
    swarm.run(60)
    for peer in peers:
        assert len(peer.machine.table) >= 20


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


def test_partial_results_and_the_work_goes_on(swarm: Any) -> None:
    """At the deadline the user gets what is there, and the record still reaches the closest nodes afterwards."""
    peers = swarm.grow(40)
    me = peers[5]
    sent = swarm.ask(me, Publish(API, 1, swarm.now + 0.2, [KEY], me.record.encoded), 0.25)
    assert not sent["complete"]
    swarm.run(10)
    assert {i for i, p in swarm.peers.items() if KEY in p.providers} >= set(swarm.closest(KEY, me))


# Who is relayed, and client mode --------------------------------------------------------------------------------


def test_find_node_is_served_by_distance(swarm: Any) -> None:
    """Distance 0 gives the own record alone; other distances up to 16 records there; nonsense one empty NODES."""
    me = swarm.grow(40)[0]
    own = me.record
    assert served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([0])) == [own.encoded]
    assert served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([256, 0])) == [own.encoded]
    assert served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([256, 257])) == []
    assert served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([])) == []
    records = served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([256, 255, 254]))
    assert len(records) == len(set(records)) == 16
    by_record = {p.record.encoded: i for i, p in swarm.peers.items()}
    assert all(254 <= log_distance(by_record[r], own.node_id) <= 256 for r in records)


def test_find_node_fast_gives_the_six_closest(swarm: Any) -> None:
    """Of the nodes that answered us, the closest ones, in one packet under 1280 bytes; never the asker itself."""
    me = swarm.grow(40)[0]
    (reply,) = serve(swarm, me, Kind.FIND_NODE_FAST, discv5.encode_find_node_fast(KEY))
    assert len(reply.bodies) == 1
    assert len(reply.bodies[0]) <= discv5.MAX_PLAINTEXT
    closest = [e.record.encoded for e in me.machine.table.closest(KEY, 6)]
    assert discv5.decode_records(reply.bodies[0]).records == closest


def test_undecodable_requests_get_no_answer(swarm: Any) -> None:
    """A body that does not decode is counted, an unknown kind as well."""
    me = swarm.add()
    for kind in (Kind.FIND_NODE, Kind.FIND_NODE_FAST):
        assert serve(swarm, me, kind, b"\xff\xff") == []
    assert me.counters["peer_requests_undecodable"] == 2
    assert serve(swarm, me, Kind.PING, b"") == []
    assert me.counters["peer_requests_unknown"] == 1


def test_nodes_in_client_mode_leave_the_table(swarm: Any) -> None:
    """Whoever says so in a request, an answer or a handshake is removed, and not asked by maintenance."""
    peers = swarm.grow(12)
    me = peers[0]
    asking, answering, shaking = peers[1:4]
    swarm.tell(
        me, PeerRequest(asking.record.node_id, "5.5.5.5", 5, b"", Kind.FIND_NODE, b"", True, swarm.now + 1)
    )
    swarm.tell(me, PeerSeen(shaking.record.node_id, "5.5.5.5", 5, shaking.record.encoded, True))
    answering.client_mode = True
    swarm.ask(me, PingNode(API, 1, swarm.now + 1, b"", answering.record.encoded))
    for peer in (asking, answering, shaking):
        assert me.machine.table.get(peer.record.node_id) is None
    assert me.counters["table_removed_client"] == 3


def test_in_client_mode_nothing_is_served(swarm: Any) -> None:
    """A node in client mode asks, and leaves peers' requests alone."""
    peers = swarm.grow(10)
    me = swarm.add([peers[0].record], RoutingSettings(client_mode=True))
    me.client_mode = True
    swarm.run(5)
    assert serve(swarm, me, Kind.FIND_NODE, discv5.encode_find_node([0])) == []
    assert swarm.ask(me, Lookup(API, 1, swarm.now + 2, KEY))["nodes"]
    assert all(peer.machine.table.get(me.record.node_id) is None for peer in peers)


def test_a_node_that_shakes_hands_is_pinged_before_it_is_relayed(swarm: Any) -> None:
    """An inbound handshake gives a place at most; the PONG to our own PING makes the node one that is handed on."""
    peers = swarm.grow(5)
    me = peers[0]
    stranger = swarm.add(life=False)
    swarm.tell(me, PeerSeen(stranger.record.node_id, "5.5.5.5", 5, stranger.record.encoded, False))
    assert stranger.record not in [e.record for e in me.machine.table.closest(stranger.record.node_id, 6)]
    swarm.run(1)
    assert stranger.record in [e.record for e in me.machine.table.closest(stranger.record.node_id, 6)]


# Maintenance ----------------------------------------------------------------------------------------------------


def test_dead_nodes_leave_and_the_network_heals(swarm: Any) -> None:
    """Minutes after a third of the nodes died, tables hold hardly any of them, and lookups find the living."""
    peers = swarm.grow(40)
    swarm.run(30)
    for peer in peers[::3]:
        peer.alive = False
    swarm.run(600)
    me = peers[1]
    dead = {peer.record.node_id for peer in peers[::3]}
    assert sum(e.node_id in dead for e in me.machine.table) <= 2
    found = swarm.ask(me, Lookup(API, 1, swarm.now + 3, KEY), 4)
    assert found["nodes"] == [swarm.peers[i].record.encoded for i in swarm.closest(KEY, me)]


def test_when_nobody_answers_the_fault_is_ours(swarm: Any) -> None:
    """An hour without any network empties no table, and afterwards everything works again."""
    peers = swarm.grow(20)
    swarm.run(60)
    me = peers[0]
    before = len(me.machine.table)
    for peer in peers[1:]:
        peer.alive = False
    swarm.run(3600)
    assert len(me.machine.table) >= before - 3
    assert me.counters["failures_blamed_on_us"] > 0
    for peer in peers[1:]:
        peer.alive = True
    swarm.run(120)
    assert len(swarm.ask(me, Lookup(API, 1, swarm.now + 3, KEY), 4)["nodes"]) == 16


def test_bootstrap_nodes_are_tried_again_when_the_table_runs_low(swarm: Any) -> None:
    """A node that started while its bootstrap node was away joins once that is back."""
    boot = swarm.add()
    boot.alive = False
    me = swarm.add([boot.record])
    swarm.run(100)
    assert len(me.machine.table) <= 1
    boot.alive = True
    swarm.run(60)
    assert [e.record for e in me.machine.table.closest(KEY, 1)] == [boot.record]


def test_searches_back_off(swarm: Any) -> None:
    """Alone, a node tries its bootstrap node at once, and then every 30 seconds at the most often."""
    gone = swarm.signer.record()
    me = swarm.add([gone], RoutingSettings(revalidate_min=1000.0, revalidate_max=2000.0))
    swarm.run(10)
    early = len(me.calls)
    assert early >= 4
    swarm.run(300)
    assert len(me.calls) - early <= 300 / 30 + 3


def test_the_table_is_saved_and_a_restarted_node_needs_no_bootstrap(swarm: Any) -> None:
    """Close answers when the table is saved; with it a new process finds the network though its bootstrap is gone."""
    peers = swarm.grow(25)
    boot, old = peers[0], peers[10]
    swarm.run(60)
    assert swarm.ask(old, Close(API, 1, swarm.now + 2)) is None
    assert isinstance(old.reply(1), Done)
    saved = [m for _, m in old.said if isinstance(m, SaveTable)][-1].entries
    assert len(saved) == len(old.machine.table)
    boot.alive = False
    again = swarm.add([boot.record], record=old.record, stored={"LoadTable": saved})
    assert again.machine.table.closest(KEY, 6) == []
    swarm.run(20)
    asked = [call.node_id for call in again.calls]
    assert boot.record.node_id not in asked[:5]
    assert len(again.machine.table.closest(KEY, 20)) == 20


def test_the_table_is_saved_every_ten_minutes_and_at_stop(swarm: Any) -> None:
    """A killed process loses ten minutes at most."""
    me = swarm.grow(5)[0]
    swarm.run(1300)
    saves = sum(isinstance(m, SaveTable) for _, m in me.said)
    assert saves == 2
    me.machine.stop(swarm.now)
    assert any(isinstance(m, SaveTable) for _, messages in me.machine.outbox.take() for m in messages)


def test_a_random_lookup_runs_every_five_minutes(swarm: Any) -> None:
    """In a quiet network each node looks up a random id when nothing has been looked up for five minutes."""
    peers = swarm.grow(20)
    swarm.run(400)
    me = peers[4]
    before = len([c for c in me.calls if c.kind == Kind.FIND_NODE_FAST])
    swarm.run(320)
    after = len([c for c in me.calls if c.kind == Kind.FIND_NODE_FAST])
    assert 10 <= after - before <= 60


def test_a_higher_seq_in_a_pong_fetches_the_record(swarm: Any) -> None:
    """Maintenance finds changed records by itself: FIND_NODE of distance 0 to the node."""
    peers = swarm.grow(3)
    me, other = peers[0], peers[1]
    key = swarm.signer.key()
    old, new = swarm.signer.record(key=key, seq=1), swarm.signer.record(key=key, seq=5)
    mover = swarm.add([me.record], record=old)
    swarm.run(20)
    mover.record = new
    swarm.tell(mover, LocalRecords(new.encoded, b""))
    swarm.run(120)
    for peer in (me, other):
        entry = peer.machine.table.get(new.node_id)
        assert entry is not None
        assert entry.record == new


def test_votes_of_peers_reach_the_wire_and_repeated_disagreement_the_log(swarm: Any) -> None:
    """When ten nodes see us elsewhere than our record says, the wire is told once, and the log is warned after that."""
    peers = swarm.grow(14)
    me = peers[0]
    others = peers[1:]
    pong = discv5.encode_pong(discv5.Pong(1, "9.9.9.9", 999))
    swarm.script = lambda peer, call: (
        [CallAnswer(call.call, Kind.PONG, pong, 0.05, False)]
        if peer is me and call.kind == Kind.PING
        else None
    )
    for number, peer in enumerate(others):
        swarm.ask(me, PingNode(API, number, swarm.now + 1, b"", peer.record.encoded), 1)
    assert [m for _, m in me.said if isinstance(m, AddressVoted)] == [AddressVoted("9.9.9.9", 999)]
    assert "address_disagrees" in {event.event for event in me.machine.outbox.events}


# Peers that lie or lack something -------------------------------------------------------------------------------


def alone_with(swarm: Any, answer: Any) -> tuple[Any, SignedPeerRecord]:
    """Return a node whose only peer answers each FIND with what `answer(call)` says."""
    liar = swarm.signer.record()
    pong = discv5.encode_pong(discv5.Pong(1, "5.5.5.5", 5))

    def script(peer: Any, call: Call) -> Any:
        if call.kind == Kind.PING:
            return [CallAnswer(call.call, Kind.PONG, pong, 0.05, False)]
        return answer(call)

    swarm.script = script
    me = swarm.add([liar])
    return me, liar


def test_sixty_packets_announced_and_one_sent(swarm: Any) -> None:
    """The total is capped at 16, what came is used, and the lookup ends."""
    found = swarm.signer.record()

    def answer(call: Call) -> list[Any]:
        return [find_answer(call, [found.encoded], total=60), CallFailed(call.call, "timeout")]

    me, _ = alone_with(swarm, answer)
    swarm.run(20)
    assert me.machine.table.get(found.node_id) is not None
    assert me.counters["call_answers_total_capped"] > 0
    assert swarm.ask(me, Lookup(API, 1, swarm.now + 2, KEY))["complete"]


def test_one_of_many_announced_packets_and_then_silence(swarm: Any) -> None:
    """Even a wire that never says how a call ended leaves no call and no query behind."""
    me, _ = alone_with(swarm, lambda call: [find_answer(call, [], total=9)])
    swarm.run(5)
    me.machine._maintenance.stop()
    swarm.run(10)
    gauges = swarm.ask(me, Stats(API, 1, swarm.now + 1))["gauges"]
    assert (gauges["calls_in_flight"], gauges["queries"]) == (0, 0)


def test_lies_are_counted_and_never_enter_the_table(swarm: Any) -> None:
    """Private, loopback, duplicate, broken and own records in one answer: the good one is kept, each lie counted."""
    good = swarm.signer.record()
    answers: list[bytes] = [
        swarm.signer.record("192.168.0.1").encoded,
        swarm.signer.record("127.0.0.1").encoded,
        good.encoded,
        good.encoded,
        b"junk",
    ]
    me, liar = alone_with(swarm, lambda call: [find_answer(call, [*answers, liar_record[0]])])
    liar_record = [liar.encoded]
    swarm.run(3)
    assert sorted(e.node_id for e in me.machine.table) == sorted([good.node_id, liar.node_id])
    for reason in ("private_address", "loopback_address", "duplicate", "bad_record", "own_record"):
        assert me.counters["nodes_" + reason] >= 1


@pytest.mark.parametrize("body", [b"", b"\xff\xff\xff", b"\x08"])
def test_undecodable_answers_do_no_harm(swarm: Any, body: bytes) -> None:
    """They are counted; the call ends by its time."""
    me, _ = alone_with(swarm, lambda call: [CallAnswer(call.call, Kind.NODES, body, 0.05, False)])
    swarm.run(5)
    assert me.counters["call_answers_undecodable"] >= 1
    assert me.counters["calls_lost"] >= 1


def test_answers_nobody_asked_for(swarm: Any) -> None:
    """Of an unknown call, of another kind, or too late: counted, nothing else."""
    me = swarm.add()
    swarm.tell(me, CallAnswer(77, Kind.NODES, b"", 0.1, False), CallFailed(77, "timeout"))
    assert me.counters["call_answers_late"] == 1
    swarm.tell(me, Done(99, None), Failed(99, "x", "y"))
    assert me.counters["store_answers_late"] == 2
    other = swarm.signer.record()
    swarm.tell(me, PingNode(API, 1, swarm.now + 1, b"", other.encoded))
    call = me.calls[-1]
    swarm.tell(me, CallAnswer(call.call, Kind.NODES, b"", 0.1, False))
    assert me.counters["call_answers_unasked"] == 1
    swarm.tell(me, CallAnswer(call.call, Kind.PONG, b"\xff", 0.1, False))
    assert me.reply(1) == Failed(1, "timeout", "the node does not answer")


def test_a_node_that_lacks_the_fast_kind_is_asked_by_distance(swarm: Any) -> None:
    """After two timeouts of FIND_NODE_FAST, FIND_NODE is used, and its records count if their distance was asked."""
    old = swarm.signer.record()
    known = [swarm.signer.record() for _ in range(40)]

    def answer(call: Call) -> list[Any]:
        if call.kind == Kind.FIND_NODE_FAST:
            return [CallFailed(call.call, "timeout")]
        distances = discv5.decode_find_node(call.body)
        fitting = [r.encoded for r in known if log_distance(r.node_id, call.node_id) in distances]
        return [find_answer(call, fitting[:16])]

    swarm.script = lambda peer, call: (
        None
        if call.node_id != old.node_id
        else answer(call)
        if call.kind != Kind.PING
        else [CallAnswer(call.call, Kind.PONG, discv5.encode_pong(discv5.Pong(1, "5.5.5.5", 5)), 0.05, False)]
    )
    me = swarm.add([old])
    swarm.run(60)
    kinds = [call.kind for call in me.calls if call.node_id == old.node_id and call.kind != Kind.PING]
    assert kinds[:2] == [Kind.FIND_NODE_FAST] * 2
    assert set(kinds[2:]) == {Kind.FIND_NODE}
    assert len(me.machine.table) > 5


# Requests that cannot be served ---------------------------------------------------------------------------------


def test_before_open_users_are_told_so(swarm: Any) -> None:
    """Queries of a closed node fail with `not_running`; the table and the statistics are there all the same."""
    me = swarm.add(life=False)
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
    for record in me.machine._maintenance._bootstrap:
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


# Life, and other actors that start again ------------------------------------------------------------------------


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


def test_a_dead_store_keeps_nobody_waiting(swarm: Any) -> None:
    """Close is answered after two seconds although the table could not be saved."""
    me = swarm.grow(3)[0]
    swarm._store = lambda peer, message: None
    swarm.tell(me, Close(API, 1, swarm.now + 3))
    swarm.run(1.5)
    assert me.reply(1) is None
    swarm.run(1)
    assert me.reply(1) == Done(1, None)


# What this node provides ----------------------------------------------------------------------------------------


class Provided:
    """A store's memory of what is provided."""

    def __init__(self) -> None:
        self.items: dict[bytes, tuple[float, bytes]] = {}

    def answers(self) -> dict[str, Any]:
        return {"PutProvided": self.put, "DropProvided": self.drop, "ListProvided": self.list}

    def put(self, message: PutProvided) -> None:
        for key, unix in message.items:
            self.items[key] = (unix, message.record)

    def drop(self, message: DropProvided) -> None:
        for key in message.keys:
            self.items.pop(key, None)

    def list(self, message: Any) -> list[list[Any]]:
        keys = sorted(key for key in self.items if key >= message.start)[: message.limit]
        return [[key, *self.items[key]] for key in keys]


FAST = {"republish_every": 600.0, "republish_min": 60.0, "check_every": 100.0, "save_every": 1e9}


def test_what_is_published_is_remembered_and_published_again(swarm: Any) -> None:
    """Publishing writes the key down, and its time; within one and a half periods it is published again."""
    swarm.grow(20)
    memory = Provided()
    me = swarm.add(
        [next(iter(swarm.peers.values())).record], RoutingSettings(**FAST), stored=memory.answers()
    )
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    first = memory.items[KEY]
    assert first[0] > 0
    assert first[1] == b""
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(900)
    assert memory.items[KEY][0] > first[0]
    assert any(KEY in peer.providers for peer in swarm.peers.values())


def test_lost_holders_are_noticed_and_shorten_the_period(swarm: Any) -> None:
    """When a check finds that hardly anybody still has a key, it is published at once, and all more often from then."""
    swarm.grow(20)
    memory = Provided()
    settings = RoutingSettings(republish_every=36000.0, republish_min=60.0, check_every=200.0)
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [b"\xff" * 32], me.record.encoded), 6)
    swarm.run(100)
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(130)
    assert sum(b"\xff" * 32 in peer.providers for peer in swarm.peers.values()) >= 16
    swarm.run(30)
    assert swarm.ask(me, Stats(API, 2, swarm.now + 1))["gauges"]["republish_period"] < 1000


def test_after_a_restart_overdue_keys_are_published(swarm: Any) -> None:
    """A new process finds in the store what it provides, with the record that it was provided by."""
    swarm.grow(20)
    memory = Provided()
    record = swarm.signer.record().encoded
    memory.items = {bytes([i]) * 32: (0.0, record if i == 1 else b"") for i in range(1, 9)}
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], RoutingSettings(), stored=memory.answers())
    swarm.run(90)
    held = {key: records for p in swarm.peers.values() for key, records in p.providers.items()}
    assert len(held) == 8
    assert set(held[b"\x01" * 32]) == {record}
    assert set(held[b"\x02" * 32]) == {me.record.encoded}
    assert all(unix > 0 for unix, _ in memory.items.values())


def test_withdrawn_keys_stay_withdrawn(swarm: Any) -> None:
    """Also when their publication is still under way."""
    swarm.grow(20)
    memory = Provided()
    me = swarm.add(
        [next(iter(swarm.peers.values())).record], RoutingSettings(**FAST), stored=memory.answers()
    )
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    swarm.run(0.1)
    assert KEY in memory.items
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    swarm.run(20)
    assert me.reply(2) == Done(2, None)
    assert memory.items == {}


def test_republishing_may_be_left_to_the_caller(swarm: Any) -> None:
    """With `republish` false nothing is remembered and nothing is published twice."""
    swarm.grow(20)
    settings = RoutingSettings(republish=False)
    memory = Provided()
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
    swarm.run(5)
    assert swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)["complete"]
    swarm.run(60)
    assert memory.items == {}
    assert not [m for _, m in me.said if type(m).__name__ == "ListProvided"]


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
