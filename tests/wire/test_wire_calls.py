"""Requests of a wire machine to peers: how long they may take, how large they may be, and that each ends once."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    CallSent,
    Close,
    Hello,
    Open,
    PeerReply,
    PeerRequest,
)
from codexdht.wire.calls import Calls, PendingCall

Net = Any
ADD = discv5.encode_add_provider(discv5.AddProvider(bytes(32), b"record"))


def talk_body(size: int) -> bytes:
    """Return the body of a TALK_REQ to "echo" with which the plaintext of its packet has this size."""
    around = len(discv5.encode_outer(Kind.TALK_REQ, bytes(8), b"x" * 1000, False)) - 1000
    request = b"x" * (
        size - around - len(discv5.encode_talk_request(discv5.TalkRequest(b"echo", b"x" * 1000))) + 1000
    )
    body = discv5.encode_talk_request(discv5.TalkRequest(b"echo", request))
    assert len(discv5.encode_outer(Kind.TALK_REQ, bytes(8), body, False)) == size
    return body


@pytest.mark.parametrize(("over", "packets"), [(0, [1280]), (1, [])])
def test_the_largest_request(net: Net, over: int, packets: list[int]) -> None:
    """A request may fill a packet of 1280 bytes, and not one byte more."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    net.log.clear()
    a.take(object)
    net.call(a, b, Kind.TALK_REQ, talk_body(discv5.MAX_PLAINTEXT + over))
    net.step()
    assert net.flags() == packets
    assert [m.reason for m in a.take(CallFailed)] == ["too large"] * over


def test_requests_around_the_size_of_a_handshake_packet(net: Net) -> None:
    """Whether a request goes into the handshake's packet or into one of its own, none is over 1280 bytes."""
    largest = set()
    for size in range(850, 950):
        run = type(net)()
        a, b = run.node(1), run.node(2)
        run.call(a, b, Kind.TALK_REQ, talk_body(size))
        run.run()
        largest.add(run.flags()[2])
        assert len(a.take(CallAnswer)) == 1
    assert max(largest) == 1280


def test_no_request_takes_longer_than_a_second(net: Net) -> None:
    """However long routing would wait: a request without an answer fails after 1 s, with a session or without."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    net.lose = lambda *_: True
    for called in (b, net.node(3)):
        net.call(a, called, seconds=30.0)
        net.wait(1.0)
        assert [m.reason for m in a.take(CallFailed)] == ["timeout"]


def test_those_that_wait_for_a_handshake_fail_with_it(net: Net) -> None:
    """A request that has joined the wait for a session later than others does not wait longer than they do."""
    a, b = net.node(1), net.node(2)
    net.lose = lambda *_: True
    impatient = net.call(a, b, seconds=0.1)
    net.wait(0.5)
    late = net.call(a, b)
    assert a.machine.deadline() == 1.0
    net.wait(0.5)
    assert [m.call for m in a.take(CallFailed)] == [impatient, late]
    assert a.counters["calls_timed_out"] == 2


def test_an_announcement_that_never_left_has_failed(net: Net) -> None:
    """Where no handshake comes about, an ADD_PROVIDER, which has no answer, is not taken for sent."""
    a, b = net.node(1), net.node(2)
    net.lose = lambda *_: True
    number = net.call(a, b, Kind.ADD_PROVIDER, ADD)
    net.wait(1.0)
    assert a.take(CallSent) == []
    net.call(a, b, Kind.ADD_PROVIDER, ADD)
    net.wait(1.0)
    assert [m.call for m in a.take(CallFailed)] == [number + 1]


def test_what_has_failed_while_it_waited_is_not_sent(net: Net) -> None:
    """A request that gave up before the session was there does not leave with those that waited on."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    gone = net.call(a, b, Kind.ADD_PROVIDER, ADD, seconds=0.1)
    net.delay(a, 0.2)
    assert [m.call for m in a.take(CallFailed)] == [gone]
    net.run()
    assert len(a.take(CallAnswer)) == 1
    assert b.take(PeerRequest) == []


def test_answer_of_no_packets(net: Net) -> None:
    """An answer that says it consists of none is complete with the packet that says so."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.run()
    [request] = b.take(PeerRequest)
    body = discv5.encode_records(0, [])
    answer = PeerReply(request.node_id, request.host, request.port, request.request_id, Kind.NODES, [body])
    b.machine.handle(answer, net.now)
    net.run()
    assert len(a.take(CallAnswer)) == 1
    net.wait(2.0)
    assert a.take(CallFailed) == []


def test_a_closed_node_begins_anew(net: Net) -> None:
    """Calls fail while it is closed; once it is open again, a call begins a handshake of its own."""
    a, b = net.node(1), net.node(2)
    net.lose = lambda *_: True
    net.call(a, b)
    net.run()
    a.machine.handle(Close(Actor.API, 2, 1.0), net.now)
    a.machine.socket_closed(net.now)
    net.call(a, b)
    assert [m.reason for m in a.take(CallFailed)] == ["closed", "closed"]
    assert a.machine.deadline() is None
    a.machine.handle(Open(Actor.API, 3, 1.0), net.now)
    a.machine.socket_bound([a.address], net.now)
    net.lose = lambda *_: False
    net.call(a, b)
    net.run()
    assert len(a.take(CallAnswer)) == 1


def test_a_new_routing_actor_begins_anew(net: Net) -> None:
    """A handshake that routing's former self has asked for does not hold up what the new one asks."""
    a, b = net.node(1), net.node(2)
    net.lose = lambda *_: True
    net.call(a, b)
    net.run()
    a.machine.handle(Hello(Actor.ROUTING), net.now)
    assert a.machine.deadline() is None
    net.lose = lambda *_: False
    number = net.call(a, b)
    net.run()
    assert [m.call for m in a.take(CallAnswer)] == [number]


def test_no_key_seals_more_packets_than_configured(net: Net) -> None:
    """Answers may use the whole count of a session, and no more: the next request of the peer renews it."""
    a, b = net.node(1), net.node(2, session_packets=3)
    sealed: list[int] = []
    for _ in range(8):
        net.call(a, b)
        net.run()
        sealed += [session.sent for session in b.machine._sessions._sessions.values()]
    assert len(a.take(CallAnswer)) == 8
    assert max(sealed) == 2
    assert len(b.machine._sessions.addresses) == len(b.machine._sessions)


def test_busy_calls_are_not_in_flight(net: Net) -> None:
    """A call that was refused is told once, and nothing of it is left."""
    a, b = net.node(1, calls=1), net.node(2)
    net.lose = lambda *_: True
    host, port = b.address
    for number in (1, 2):
        call = Call(number, 1.0, b.node_id, b.key.public_key, host, port, Kind.PING, b"\x08\x01")
        a.machine.handle(call, net.now)
    net.wait(3.0)
    assert [(m.call, m.reason) for m in a.take(CallFailed)] == [(2, "busy"), (1, "timeout")]


def test_what_goes_out_again_with_a_handshake() -> None:
    """Requests to the same peer that have left since the one it asks about, and of which it may have read nothing."""
    calls = Calls()

    def pending(number: int, sent: float | None, peer: bytes = b"p" * 32) -> PendingCall:
        message = Call(number, 9.0, peer, b"", "1.2.3.4", 9000, Kind.FIND_NODE, b"")
        call = PendingCall(message, bytes([number]), b"", 9.0)
        call.sent = sent
        calls.add(call)
        return call

    asked, same_time, later = pending(1, 2.0), pending(2, 2.0), pending(3, 3.0)
    pending(4, 1.0)
    pending(5, None)
    pending(6, 3.0, b"q" * 32)
    pending(7, 3.0).left = 2
    pending(8, 3.0).challenge = b"answered"
    assert calls.unanswered_since(asked) == [same_time, later]
    assert calls.unanswered_since(pending(9, None)) == []
