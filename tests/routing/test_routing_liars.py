"""One routing machine among peers that lie, or lack something."""

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
    Done,
    Failed,
    FindProviders,
    Life,
    Lookup,
    NodeLife,
    PeerSeen,
    PingNode,
    Stats,
)
from codexdht.records import SignedPeerRecord

API = Actor.API
KEY = b"\x42" * 32


def find_answer(call: Call, records: list[bytes], total: int = 1, rtt: float = 0.05) -> CallAnswer:
    return CallAnswer(call.call, Kind.NODES, discv5.encode_records(total, records), rtt, False)


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
    """They are counted, and the call ends at once."""
    me, _ = alone_with(swarm, lambda call: [CallAnswer(call.call, Kind.NODES, body, 0.05, False)])
    swarm.run(5)
    assert me.counters["call_answers_undecodable"] >= 1
    assert me.counters["calls_undecodable"] >= 1
    assert me.counters["calls_lost"] == 0


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


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.0.1", "255.255.255.255", "::1", "fe80::1"])
def test_a_handshake_leads_into_no_private_network(swarm: Any, host: str) -> None:
    """A public peer whose record names an address of ours is not greeted there, nor does it get a place; one that is
    in that network itself does."""
    me = swarm.add()
    swarm.run(1)
    me.calls.clear()
    record = swarm.signer.record(host, port=22)
    swarm.tell(me, PeerSeen(record.node_id, "8.8.8.8", 9, record.encoded, False))
    assert (me.calls, len(me.machine.table)) == ([], 0)
    assert me.counters["peer_seen_loopback_address"] + me.counters["peer_seen_private_address"] == 1
    swarm.tell(me, PeerSeen(record.node_id, host, 22, record.encoded, False))
    assert [call.host for call in me.calls] == [host]


def pong_from(*hosts: str) -> Any:
    """Return a script in which there are nodes at these addresses alone."""
    pong = discv5.encode_pong(discv5.Pong(1, "5.5.5.5", 5))

    def script(peer: Any, call: Call) -> Any:
        if call.host in hosts and call.kind == Kind.PING:
            return [CallAnswer(call.call, Kind.PONG, pong, 0.05, False)]
        return [CallFailed(call.call, "timeout")]

    return script


def open_node(swarm: Any) -> Any:
    """Return a node that asks whom it is told to, and does nothing by itself."""
    me = swarm.add(life=False)
    swarm.tell(me, NodeLife(Actor.API, Life.OPEN))
    return me


def test_an_answer_from_the_old_address_does_not_vouch_for_the_new_one(swarm: Any) -> None:
    """A peer cannot have a record with somebody else's address handed on by answering at its own."""
    swarm.script = pong_from("6.1.1.1")
    key = swarm.signer.key()
    mine = swarm.signer.record("6.1.1.1", key, 1)
    victims = swarm.signer.record("9.9.9.9", key, 2)
    me = open_node(swarm)
    swarm.tell(me, PingNode(API, 1, swarm.now + 1, b"", mine.encoded))
    swarm.run(0.5)
    assert [e.record for e in me.machine.table.closest(KEY, 6)] == [mine]
    swarm.tell(me, PeerSeen(victims.node_id, "6.1.1.1", 9, victims.encoded, False))
    swarm.tell(me, PingNode(API, 2, swarm.now + 1, b"", mine.encoded))
    swarm.run(0.5)
    assert me.answer(2) is not None
    assert me.machine.table.closest(KEY, 6) == []


def test_old_records_of_a_node_do_not_harm_it(swarm: Any) -> None:
    """A peer that hands on an honest node's outdated record cannot have it dropped: what stays unanswered at its
    old address is not held against it."""
    key = swarm.signer.key()
    old = swarm.signer.record("7.7.7.7", key, 1)
    new = swarm.signer.record("6.1.1.1", key, 2)
    swarm.script = pong_from("6.1.1.1", "6.2.2.2")
    me = open_node(swarm)
    for number in range(12):
        for record in (new, old, swarm.signer.record("6.2.2.2")):
            swarm.tell(me, PingNode(API, number, swarm.now + 1, b"", record.encoded))
        swarm.run(1.2)
    entry = me.machine.table.get(new.node_id)
    assert (entry.record, entry.failures, entry.reliability) == (new, 0, 1.0)
    assert me.counters["failures_at_old_address"] == 12


@pytest.mark.parametrize(
    "seen", [("2a00::1", 5), ("0.0.0.0", 5), ("9.9.9.9", 0), ("224.0.0.1", 5), ("10.0.0.1", 5)]
)
def test_votes_for_addresses_that_nobody_can_have_seen(swarm: Any, seen: tuple[str, int]) -> None:
    """A node that speaks IPv4 with all its peers has no honest votes about IPv6 to set against twelve liars'. Nor does
    it take an address on that nobody can send to."""
    pong = discv5.encode_pong(discv5.Pong(1, *seen))
    swarm.script = lambda peer, call: (
        [CallAnswer(call.call, Kind.PONG, pong, 0.05, False)] if call.kind == Kind.PING else None
    )
    me = swarm.add([swarm.signer.record() for _ in range(12)])
    swarm.run(5)
    assert me.counters["votes_refused_address"] >= 12
    assert not [message for _, message in me.said if isinstance(message, AddressVoted)]


def test_floods_of_provider_records(swarm: Any) -> None:
    """Of sixteen packets full of records that do not hold, 400 records are checked."""
    good = swarm.signer.record().encoded
    bad = [good[:-8] + number.to_bytes(8, "big") for number in range(300)]

    def answer(call: Call) -> list[Any]:
        if call.kind != Kind.GET_PROVIDERS:
            return [find_answer(call, [])]
        body = discv5.encode_records(16, bad)
        return [CallAnswer(call.call, Kind.PROVIDERS, body, 0.05, False) for _ in range(16)]

    me, _ = alone_with(swarm, answer)
    swarm.run(2)
    checks = me.machine._contacts.records.checks
    assert swarm.ask(me, FindProviders(API, 1, swarm.now + 1, KEY, 0))["complete"]
    assert me.counters["providers_too_many"] == 16 * 300 - 400
    assert me.machine._contacts.records.checks - checks <= 400


def test_providers_that_come_when_enough_are_found(swarm: Any) -> None:
    """They are not even checked."""
    found = [swarm.signer.record().encoded for _ in range(3)]

    def answer(call: Call) -> list[Any]:
        if call.kind != Kind.GET_PROVIDERS:
            return [find_answer(call, [])]
        bodies = [discv5.encode_records(3, [record]) for record in found]
        return [CallAnswer(call.call, Kind.PROVIDERS, body, 0.05, False) for body in bodies]

    me, _ = alone_with(swarm, answer)
    swarm.run(2)
    checks = me.machine._contacts.records.checks
    assert swarm.ask(me, FindProviders(API, 1, swarm.now + 1, KEY, 1))["providers"] == found[:1]
    assert me.machine._contacts.records.checks - checks == 1


def test_handshakes_leave_checks_to_known_nodes(swarm: Any) -> None:
    """Strangers with addresses where nobody is cannot use up the PINGs by which the table is kept true."""
    swarm.script = lambda peer, call: []
    me = swarm.add()
    swarm.run(1)
    for _ in range(20):
        stranger = swarm.signer.record()
        swarm.tell(me, PeerSeen(stranger.node_id, "8.8.8.8", 9, stranger.encoded, False))
    assert len(me.machine.table) == 20
    assert len(me.calls) == 8
