"""One routing machine among peers that lie, or lack something."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.identity import log_distance
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    Done,
    Failed,
    Lookup,
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
