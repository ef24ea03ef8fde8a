"""Handshakes that cross, are lost or come late: who is read in which session, and answered in which."""

from __future__ import annotations

from typing import Any

from codexdht.messages.internal import CallAnswer

Net = Any


def forgotten(net: Net) -> tuple[Any, Any]:
    """Return two nodes, of which the first has a session with the second, but not the other way round."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    b.machine._sessions.drop((a.node_id, a.address))
    a.take(CallAnswer)
    return a, b


def test_crossing_handshakes(net: Net) -> None:
    """Two nodes that call each other at once both get their answers, and go on without a third handshake."""
    a, b = net.node(1), net.node(2)
    for _ in range(3):
        net.call(a, b)
        net.call(b, a)
    net.run()
    assert len(a.take(CallAnswer)) == len(b.take(CallAnswer)) == 3
    handshakes = a.counters["handshakes_accepted"] + b.counters["handshakes_accepted"]
    for _ in range(4):
        net.wait(0.6)
        net.call(a, b)
        net.call(b, a)
        net.run()
        assert len(a.take(CallAnswer)) == len(b.take(CallAnswer)) == 1
    assert a.counters["handshakes_accepted"] + b.counters["handshakes_accepted"] == handshakes


def test_a_lost_handshake_of_ours_does_not_make_us_unreadable(net: Net) -> None:
    """The peer goes on with the session that it knows, and gets its answers in it after a second at the latest."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    net.step()
    net.call(b, a)
    net.lose = lambda data, source, _: source == b.address and len(data) > 250
    net.wait(2.0)
    net.lose = lambda *_: False
    a.take(CallAnswer)
    assert b.counters["handshakes_initiated"] == 1
    assert a.counters["handshakes_accepted"] == 0
    for _ in range(3):
        net.call(a, b)
        net.run()
    assert len(a.take(CallAnswer)) == 3
    assert b.counters["whoareyou_unexpected"] == 0


def test_a_handshake_that_was_asked_for_after_ours_was_lost_does_not_cross_it(net: Net) -> None:
    """The peer is answered in its own session at once: it has never heard of ours."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    net.step()
    assert a.counters["handshakes_initiated"] == 1
    a.machine.datagrams.clear()
    net.now += 0.2
    net.call(b, a)
    net.run()
    assert len(b.take(CallAnswer)) == 1


def test_a_peer_that_keeps_one_session_is_answered_in_ours(net: Net) -> None:
    """Where two handshakes cross, a deployed peer goes on with the one that it got: it reads our answers at once."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.call(b, a)
    net.run()
    deployed = a.machine._sessions.get((b.node_id, b.address))
    (deployed.opener, deployed.sealer, deployed.sent), deployed.previous = deployed.previous, None
    a.take(CallAnswer)
    for _ in range(3):
        net.call(a, b)
        net.run()
    assert len(a.take(CallAnswer)) == 3


def test_a_late_packet_does_not_tie_us_to_a_session_that_the_peer_has_left(net: Net) -> None:
    """The peer got our handshake, answered in it, and went on with its own, as deployed peers do when that is the last;
    its answer comes behind its handshake. After a second in which only its own session is heard it is answered there.
    """
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    net.call(b, a)
    net.step()
    net.step()
    b.machine._sessions.get((a.node_id, a.address)).previous = None
    b.machine.datagrams.reverse()
    net.run()
    assert (len(a.take(CallAnswer)), len(b.take(CallAnswer))) == (1, 0)
    for answers in (0, 1, 1):
        net.wait(1.1)
        net.call(b, a)
        net.run()
        assert len(b.take(CallAnswer)) == answers


def test_all_requests_to_a_peer_that_has_forgotten_us_are_answered(net: Net) -> None:
    """It asks who we are because of the first; the handshake brings the others along."""
    a, b = forgotten(net)
    for _ in range(3):
        net.call(a, b)
    net.run()
    assert len(a.take(CallAnswer)) == 3
    assert b.counters["handshakes_accepted"] == 2


def test_a_challenge_that_a_handshake_has_overtaken(net: Net) -> None:
    """The requests go out again in the session that there is by now, and begin no other, however often the challenge
    comes: once for each of them."""
    a, b = forgotten(net)
    for _ in range(3):
        net.call(a, b)
    net.step()
    late = b.machine.datagrams[:]
    b.machine.datagrams.clear()
    net.now += 0.1
    net.call(b, a)
    net.run()
    b.machine.datagrams += late
    net.run()
    assert (len(a.take(CallAnswer)), len(b.take(CallAnswer))) == (3, 1)
    assert len(late) == 3
    assert a.counters["handshakes_initiated"] == 1


def test_an_old_packet_sent_again_does_not_bring_back_its_session(net: Net) -> None:
    """A second after a handshake, a recorded packet of the session before is read, but answered in the new one."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    net.call(a, b)
    net.step()
    recorded = net.log[-1][2]
    net.run()
    a.machine._sessions.drop((b.node_id, b.address))
    for _ in range(2):
        net.call(a, b)
        net.run()
    net.now += 1.5
    b.feed(recorded, a.address, net.now)
    net.call(a, b)
    net.run()
    assert len(a.take(CallAnswer)) == 5
    assert a.counters["undecryptable"] == 0
