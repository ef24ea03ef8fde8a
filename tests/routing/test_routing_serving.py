"""What a routing machine answers its peers, whom it hands on, and client mode."""

from __future__ import annotations

from typing import Any

from codexdht.identity import log_distance
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    Lookup,
    PeerReply,
    PeerRequest,
    PeerSeen,
    PingNode,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
KEY = b"\x42" * 32


def serve(swarm: Any, peer: Any, kind: Kind, body: bytes, client_mode: bool = False) -> list[PeerReply]:
    """Hand a peer's request in; return the replies."""
    asker = b"\x99" * 32
    request = PeerRequest(asker, "8.8.8.8", 5, b"\1\2", kind, body, client_mode, swarm.now + 1)
    before = len(peer.said)
    swarm.tell(peer, request)
    replies = [m for _, m in peer.said[before:] if isinstance(m, PeerReply)]
    tickets = {(reply.node_id, reply.host, reply.port, reply.request_id) for reply in replies}
    assert tickets <= {(asker, "8.8.8.8", 5, b"\1\2")}
    return replies


def served(swarm: Any, peer: Any, kind: Kind, body: bytes) -> list[bytes]:
    (reply,) = serve(swarm, peer, kind, body)
    assert reply.kind == Kind.NODES
    assert all(discv5.decode_records(body).total == len(reply.bodies) for body in reply.bodies)
    return [record for body in reply.bodies for record in discv5.decode_records(body).records]


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


def test_a_request_for_every_distance_costs_one_walk_over_the_table(swarm: Any) -> None:
    """The order asked for decides who is named, but a peer cannot make us go through the table once a distance."""
    me = swarm.grow(40)[0]
    walks = 0

    class Watched(dict[int, Any]):
        def values(self) -> Any:
            nonlocal walks
            walks += 1
            return super().values()

    me.machine.table._entries = Watched(me.machine.table._entries)
    records = served(swarm, me, Kind.FIND_NODE, discv5.encode_find_node(list(range(1, 257))))
    assert walks == 1
    by_record = {p.record.encoded: i for i, p in swarm.peers.items()}
    distances = [log_distance(by_record[r], me.record.node_id) for r in records]
    assert len(records) == 16
    assert distances == sorted(distances)


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
