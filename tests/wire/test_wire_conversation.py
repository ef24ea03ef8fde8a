"""Two or more wire machines talk: handshakes, answers, losses, and what each side is told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    CallAnswer,
    CallFailed,
    CallSent,
    PeerReply,
    PeerRequest,
    PeerSeen,
)
from codexdht.wire.plain import PlainCrypto

Net = Any
RANDOM_SIZE, WHOAREYOU_SIZE = 91, 63


def sessions(node: Any) -> int:
    return len(node.machine._sessions)


def reply(request: PeerRequest, kind: int, bodies: list[bytes]) -> PeerReply:
    return PeerReply(request.node_id, request.host, request.port, request.request_id, kind, bodies)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "8.8.4.4", "2a00:1450::5"])
def test_first_ping(net: Net, host: str) -> None:
    """A PING to a stranger makes a handshake of four packets and is answered with the address it came from."""
    a, b = net.node(1, host), net.node(2, host)
    number = net.call(a, b)
    net.run()
    [answer] = a.take(CallAnswer)
    assert (answer.call, answer.kind) == (number, Kind.PONG)
    pong = discv5.decode_pong(answer.body)
    assert (pong.host, pong.port) == a.address
    assert len(net.log) == 4
    assert net.flags()[:2] == [RANDOM_SIZE, WHOAREYOU_SIZE]
    [seen] = b.take(PeerSeen)
    assert (seen.node_id, seen.host, seen.port) == (a.node_id, *a.address)
    assert seen.record == a.machine._local.record.encoded


def test_second_request_needs_two_packets(net: Net) -> None:
    """With a session, a request and its answer are one packet each, and the rtt is measured."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    net.log.clear()
    a.take(object)
    net.call(a, b)
    net.step()
    net.now += 0.25
    net.run()
    assert len(net.log) == 2
    assert a.take(CallAnswer)[0].rtt == pytest.approx(0.25)


def test_record_is_not_sent_twice(net: Net) -> None:
    """A recipient that knows the record's seq says so in its challenge, and the handshake leaves the record out.
    Routing is told it all the same: it may have forgotten a node that was away."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    first = max(net.flags())
    b.machine._sessions.drop((a.node_id, a.address))
    net.log.clear()
    [seen] = b.take(PeerSeen)
    net.call(a, b)
    net.run()
    assert max(net.flags()) < first - 150
    assert b.take(PeerSeen) == [seen]
    assert seen.record
    assert len(a.take(CallAnswer)) == 2


def test_requests_wait_behind_the_handshake(net: Net) -> None:
    """Requests to one stranger share one handshake, and all are answered."""
    a, b = net.node(1), net.node(2)
    numbers = [net.call(a, b) for _ in range(5)]
    net.run()
    assert sorted(m.call for m in a.take(CallAnswer)) == numbers
    assert net.flags().count(WHOAREYOU_SIZE) == 1


def test_waiting_requests_fail_with_the_handshake(net: Net) -> None:
    """When nobody answers, every waiting request fails within 1 s, and nothing is left behind."""
    a, b = net.node(1), net.node(2)
    net.lose = lambda *_: True
    numbers = [net.call(a, b) for _ in range(5)]
    net.wait(1.0)
    assert sorted(m.call for m in a.take(CallFailed)) == numbers
    assert len(a.machine._caller.calls) == 0
    assert len(net.log) == 1
    net.wait(2.0)
    assert a.machine.deadline() is None


def test_short_deadline_hands_the_handshake_over(net: Net) -> None:
    """If the request that began a handshake gives up, the next one waiting goes into the handshake."""
    a, b = net.node(1), net.node(2)
    impatient, patient = net.call(a, b, seconds=0.1), net.call(a, b)
    net.delay(a, 0.2)
    assert [m.call for m in a.take(CallFailed)] == [impatient]
    net.run()
    assert [m.call for m in a.take(CallAnswer)] == [patient]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_loss_during_the_handshake(net: Net, lost: int) -> None:
    """Whichever of the handshake's packets is lost, the request fails in 1 s and the next one succeeds."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.lose = lambda *_: len(net.log) == lost + 1
    net.wait(1.1)
    assert [m.reason for m in a.take(CallFailed)] == ["timeout"]
    net.lose = lambda *_: False
    net.call(a, b)
    net.wait(0.5)
    assert len(a.take(CallAnswer)) == 1


def test_lost_handshake_packet_is_repeated_on_challenge(net: Net) -> None:
    """If the handshake packet is lost, the next packet gets the same challenge again, and the same handshake answers
    it: both requests end well."""
    a, b = net.node(1), net.node(2)
    first = net.call(a, b)
    net.lose = lambda data, source, to: len(net.log) == 3
    net.run()
    assert sessions(b) == 0
    net.lose = lambda *_: False
    net.now += 0.1
    second = net.call(a, b)
    net.run()
    assert b.counters["handshakes_accepted"] == 1
    assert [m.call for m in a.take(CallAnswer)] == [first]
    net.wait(1.0)
    assert [m.call for m in a.take(CallFailed)] == [second]
    assert net.flags().count(WHOAREYOU_SIZE) == 2


def test_session_lost_at_the_other_side(net: Net) -> None:
    """A WHOAREYOU in the middle of a conversation makes a new session with the request inside the handshake."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    b.machine._sessions.drop((a.node_id, a.address))
    net.now += 5
    number = net.call(a, b)
    net.run()
    assert [m.call for m in a.take(CallAnswer)] == [number - 1, number]
    assert b.counters["handshakes_accepted"] == 2


def test_session_lost_at_our_side(net: Net) -> None:
    """A request under a session that we have lost gets a challenge, never silence."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    a.machine._sessions.drop((b.node_id, b.address))
    net.call(b, a)
    net.run()
    assert len(b.take(CallAnswer)) == 1


def test_several_packets(net: Net) -> None:
    """An answer of several packets ends its call with the last one; each packet that comes gives 1 s more."""
    a, b = net.node(1), net.node(2)
    number = net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([255]))
    net.run()
    [request] = b.take(PeerRequest)
    bodies = [discv5.encode_records(3, [b"x" * 900]) for _ in range(3)]
    for body in bodies[:2]:
        net.wait(0.9)
        b.machine.handle(reply(request, Kind.NODES, [body]), net.now)
        net.run()
    assert [(m.call, m.body) for m in a.take(CallAnswer)] == [(number, bodies[0]), (number, bodies[1])]
    net.wait(0.9)
    b.machine.handle(reply(request, Kind.NODES, bodies[2:]), net.now)
    net.run()
    assert len(a.take(CallAnswer)) == 1
    assert len(a.machine._caller.calls) == 0
    net.wait(2.0)
    assert a.take(CallFailed) == []


def test_missing_packets_time_out(net: Net) -> None:
    """If packets of an answer never come, the call fails 1 s after the last that did; later ones are dropped."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.GET_PROVIDERS, discv5.encode_get_providers(bytes(32)))
    net.run()
    [request] = b.take(PeerRequest)
    b.machine.handle(reply(request, Kind.PROVIDERS, [discv5.encode_records(2, [])]), net.now)
    net.wait(1.0)
    assert [m.reason for m in a.take(CallFailed)] == ["timeout"]
    b.machine.handle(reply(request, Kind.PROVIDERS, [discv5.encode_records(2, [])]), net.now)
    net.run()
    assert a.counters["response_unmatched"] == 1


def test_at_most_16_packets(net: Net) -> None:
    """However many packets an answer announces, 16 are taken."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([255]))
    net.run()
    [request] = b.take(PeerRequest)
    bodies = [discv5.encode_records(2**32 - 1, []) for _ in range(20)]
    b.machine.handle(reply(request, Kind.NODES, bodies), net.now)
    net.run()
    assert len(a.take(CallAnswer)) == 16
    assert a.counters["response_unmatched"] == 4


def test_add_provider_has_no_answer(net: Net) -> None:
    """ADD_PROVIDER is reported as sent, with and without a handshake before it, and never fails after that."""
    a, b = net.node(1), net.node(2)
    body = discv5.encode_add_provider(discv5.AddProvider(bytes(32), b"record"))
    for _ in range(2):
        number = net.call(a, b, Kind.ADD_PROVIDER, body)
        net.run()
        assert [m.call for m in a.take(CallSent)] == [number]
        assert [(m.kind, m.body) for m in b.take(PeerRequest)] == [(Kind.ADD_PROVIDER, body)]
        net.wait(1.5)
        assert a.take(CallFailed) == []


def test_requests_go_to_their_actors(net: Net) -> None:
    """FIND_NODE* go to routing and provider requests to the store, with 1 s to live."""
    a, b = net.node(1), net.node(2)
    requests = {
        Kind.FIND_NODE: discv5.encode_find_node([0]),
        Kind.FIND_NODE_FAST: discv5.encode_find_node_fast(bytes(32)),
        Kind.GET_PROVIDERS: discv5.encode_get_providers(bytes(32)),
    }
    for kind, body in requests.items():
        net.call(a, b, kind, body)
    net.run()
    b.collect()
    got = {m.kind: (actor, m.body, m.deadline) for actor, m in b.said if isinstance(m, PeerRequest)}
    routing, store = Actor.ROUTING, Actor.STORE
    owners = {Kind.FIND_NODE: routing, Kind.FIND_NODE_FAST: routing, Kind.GET_PROVIDERS: store}
    assert got == {kind: (owners[kind], body, net.now + 1) for kind, body in requests.items()}


def test_client_mode(net: Net) -> None:
    """A node in client mode marks all it sends; both directions tell routing."""
    a, b = net.node(1, client_mode=True), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.run()
    b.collect()
    said = [m for _, m in b.said]
    assert [m.client_mode for m in said if isinstance(m, PeerSeen)] == [True]
    assert [m.client_mode for m in said if isinstance(m, PeerRequest)] == [True]
    net.call(b, a)
    net.run()
    assert [m.client_mode for m in b.take(CallAnswer)] == [True]


def test_change_of_client_mode_is_reported(net: Net) -> None:
    """A peer that changes its mode within a session is reported once more, with its record, so that one that serves
    again finds its place."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    [seen] = b.take(PeerSeen)
    assert not seen.client_mode
    session = a.machine._sessions.get((b.node_id, b.address))
    plaintext = discv5.encode_outer(Kind.PING, b"1", discv5.encode_ping(1), True)
    for _ in range(2):
        a.machine._transmitter.seal(session, plaintext)
    net.run()
    assert b.take(PeerSeen) == [replace(seen, client_mode=True)]


def test_large_request_behind_a_handshake(net: Net) -> None:
    """A request that does not fit beside the record in a handshake follows in a packet of its own."""
    a, b = net.node(1), net.node(2)
    request = discv5.encode_talk_request(discv5.TalkRequest(b"echo", b"x" * 1100))
    number = net.call(a, b, Kind.TALK_REQ, request)
    net.run()
    [answer] = a.take(CallAnswer)
    assert answer.call == number
    assert len(discv5.decode_talk_response(answer.body)) == 1100


def test_too_large(net: Net) -> None:
    """What does not fit into 1280 bytes is refused, as a request and as an answer."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.TALK_REQ, discv5.encode_talk_request(discv5.TalkRequest(b"echo", b"x" * 1200)))
    assert [m.reason for m in a.take(CallFailed)] == ["too large"]
    b.machine.register_talk(b"long", lambda node_id, address, request: b"x" * 1200)
    net.call(a, b, Kind.TALK_REQ, discv5.encode_talk_request(discv5.TalkRequest(b"long", b"")))
    net.run()
    assert b.counters["reply_too_large"] == 1


def test_answers_are_matched(net: Net) -> None:
    """An answer of the wrong kind, or from another peer, belongs to no call."""
    a, b, c = net.node(1), net.node(2), net.node(3)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.call(c, a)
    net.run()
    [request] = b.take(PeerRequest)
    b.machine.handle(reply(request, Kind.PROVIDERS, [discv5.encode_records(1, [])]), net.now)
    host, port = a.address
    forged = PeerReply(a.node_id, host, port, request.request_id, Kind.NODES, [discv5.encode_records(1, [])])
    c.machine.handle(forged, net.now)
    net.run()
    assert a.take(CallAnswer) == []
    assert a.counters["response_unmatched"] == 2


def test_reply_without_session(net: Net) -> None:
    """An answer to a peer whose session is gone is dropped and counted."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.run()
    [request] = b.take(PeerRequest)
    b.machine._sessions.drop((a.node_id, a.address))
    b.machine.handle(reply(request, Kind.NODES, [discv5.encode_records(1, [])]), net.now)
    assert b.machine.datagrams == []
    assert b.counters["reply_without_session"] == 1


def test_session_is_renewed_before_the_counter_ends(net: Net) -> None:
    """After as many packets as one key may seal, the next request makes a new session; no request is lost."""
    a, b = net.node(1, session_packets=8), net.node(2, session_packets=12)
    for _ in range(10):
        net.call(a, b)
        net.run()
    assert len(a.take(CallAnswer)) == 10
    assert b.counters["handshakes_accepted"] == 3
    assert all(s.sent < 8 for s in a.machine._sessions._sessions.values())


def test_an_answer_may_outlast_the_last_key(net: Net) -> None:
    """An answer of many packets at the end of the largest count leaves whole: the counter has room for it."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.run()
    [request] = b.take(PeerRequest)
    session = b.machine._sessions.get((a.node_id, a.address))
    session.sent = b.machine._settings.session_packets - 1
    b.machine.handle(reply(request, Kind.NODES, [discv5.encode_records(16, [])] * 16), net.now)
    net.run()
    assert len(a.take(CallAnswer)) == 16
    assert b.machine._sessions.get((a.node_id, a.address)) is None


def test_plain_crypto_behaves_alike(net: Net) -> None:
    """The stand-in of the simulator makes the same packets, and refuses changed ones."""
    a, b = net.node(1, crypto=PlainCrypto()), net.node(2, crypto=PlainCrypto())
    net.call(a, b)
    net.run()
    assert len(a.take(CallAnswer)) == 1
    assert net.flags()[:2] == [RANDOM_SIZE, WHOAREYOU_SIZE]
    data = bytearray(net.log[-1][2])
    data[-20] ^= 1
    a.machine.receive_datagram(bytes(data), b.address, net.now)
    assert a.counters["undecryptable"] == 1


def test_same_seed_same_trace(net: Net) -> None:
    """Two runs from the same seeds send the same bytes."""
    logs = []
    for run in (net, type(net)()):
        a, b = run.node(1), run.node(2)
        for _ in range(3):
            run.call(a, b)
            run.call(b, a)
        run.wait(2.0)
        logs.append(run.log)
    assert logs[0] == logs[1]
