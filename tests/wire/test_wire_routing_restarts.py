"""What the wire does when the routing actor has started again."""

from __future__ import annotations

from typing import Any

from codexdht.messages.internal import Actor, CallAnswer, CallFailed, Hello, PeerSeen
from codexdht.wire.sessions import Sessions

Net = Any


def test_routing_restart_forgets_calls(net: Net) -> None:
    """After routing's Hello no answer to a call of its former self comes through."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    a.machine.handle(Hello(Actor.ROUTING), net.now)
    net.run()
    net.wait(2.0)
    assert a.take(CallAnswer) == a.take(CallFailed) == []


def test_routing_is_told_of_the_peers_when_it_starts_again(net: Net) -> None:
    """Of those with sessions, the one heard of last first."""
    a, b, c = (net.node(number) for number in (1, 2, 3))
    for peer in (b, c, b):
        net.call(peer, a)
        net.run()
    met = a.take(PeerSeen)
    assert [seen.node_id for seen in met] == [b.node_id, c.node_id]
    a.machine.handle(Hello(Actor.STORE), net.now)
    assert a.take(PeerSeen) == []
    a.machine.handle(Hello(Actor.ROUTING), net.now)
    assert a.take(PeerSeen) == met


def test_the_peers_told_are_those_of_the_last_sessions_used() -> None:
    """As many as are asked for, whatever the order in which they were made."""
    sessions = Sessions(10)
    peers = [(bytes((number,)) * 32, ("5.5.5.5", 9000 + number)) for number in range(5)]
    for peer in peers:
        sessions.add(peer, None, None, None, 0.0, asked=None)  # type: ignore[arg-type]
    sessions.get(peers[1])
    assert [session.peer for session in sessions.recent(3)] == [peers[1], peers[4], peers[3]]
