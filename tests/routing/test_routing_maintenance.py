"""How a routing table is kept: searches, revalidation, saving, votes on the own address."""

from __future__ import annotations

from typing import Any

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    CallAnswer,
    Close,
    Done,
    Failed,
    Life,
    LoadTable,
    LocalRecords,
    Lookup,
    NodeLife,
    PeerSeen,
    PingNode,
    SaveTable,
    Start,
)
from codexdht.routing import snapshot
from codexdht.routing.settings import RoutingSettings

API = Actor.API
KEY = b"\x42" * 32


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


def test_a_node_that_may_never_be_dropped_fails_for_ever(swarm: Any) -> None:
    """With a least reliability of 0 a silent node without a replacement stays, and is asked every half minute."""
    peers = swarm.grow(3, settings=RoutingSettings(min_reliability=0.0))
    swarm.run(60)
    me, gone = peers[0], peers[2]
    gone.alive = False
    swarm.run(60)
    entry = me.machine.table.get(gone.record.node_id)
    entry.failures = 1024
    asked = len(me.calls)
    swarm.run(600)
    assert me.machine.table.get(gone.record.node_id) is entry
    assert entry.failures > 1030
    assert sum(call.kind == Kind.PING and call.node_id == entry.node_id for call in me.calls[asked:]) >= 10


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


def test_peers_that_the_wire_names_first_are_taken_back_from_the_saved_table(swarm: Any) -> None:
    """A process that is restarted alone hears of the wire's sessions before the store has answered: its saved table is
    asked as soon as without them, and the nodes are relayed again."""
    old = swarm.grow(50)[10]
    swarm.run(60)
    saved = snapshot.dump(old.machine.table, 0.0)
    assert len(saved) > 30
    me = swarm.add(record=old.record, stored={"LoadTable": saved})
    records = [entry.record for entry in old.machine.table]
    swarm.tell(me, *(PeerSeen(r.node_id, *r.endpoint, r.encoded, False) for r in records))
    swarm.run(10)
    table = me.machine.table
    assert sum(entry.answers > 0 and not entry.failures for entry in table) >= len(saved)
    assert sum(entry.answers > 1 for entry in table) >= len(saved) - 8


def test_the_table_is_saved_every_ten_minutes_and_at_stop(swarm: Any) -> None:
    """A killed process loses ten minutes at most."""
    me = swarm.grow(5)[0]
    swarm.run(1300)
    saves = sum(isinstance(m, SaveTable) for _, m in me.said)
    assert saves == 2
    me.machine.stop(swarm.now)
    assert any(isinstance(m, SaveTable) for _, messages in me.machine.outbox.take() for m in messages)


def test_a_table_that_was_never_loaded_takes_the_place_of_no_saved_one(swarm: Any) -> None:
    """A node that is closed without a start, or before the store has answered, and one that is stopped then, leaves the
    saved table alone, also when a peer has come to it meanwhile; close is answered at once."""
    saved = snapshot.dump(swarm.grow(5)[0].machine.table, 0.0)
    stranger = swarm.signer.record()
    seen = PeerSeen(stranger.node_id, "8.8.8.8", 9, stranger.encoded, False)
    for life in (NodeLife(Actor.API, Life.OPEN), Start(API, 0, swarm.now + 1)):
        me = swarm.add(life=False, stored={"LoadTable": saved})
        swarm.tell(me, life, seen, Close(API, 1, swarm.now + 2))
        assert me.reply(1) == Done(1, None)
        assert len(me.machine.table) == 1
        me.machine.stop(swarm.now)
        assert not any(isinstance(m, SaveTable) for _, m in me.said)
        assert not any(isinstance(m, SaveTable) for _, ms in me.machine.outbox.take() for m in ms)


def test_an_empty_table_takes_the_place_of_no_saved_one(swarm: Any) -> None:
    """A node without a network for long still knows where it was."""
    me = swarm.add(stored={"LoadTable": []})
    swarm.run(1300)
    assert any(isinstance(m, LoadTable) for _, m in me.said)
    assert swarm.ask(me, Close(API, 1, swarm.now + 2)) is None
    assert me.reply(1) == Done(1, None)
    assert not any(isinstance(m, SaveTable) for _, m in me.said)


def test_a_table_that_the_store_could_not_give_yet_is_asked_for_again(swarm: Any) -> None:
    """A store that checks its file after a crash answers late: the node joins without the table, does not save its own
    over it, and takes it in when it comes."""
    peers = swarm.grow(25)
    saved = snapshot.dump(peers[10].machine.table, 0.0)
    me = swarm.add([peers[0].record], stored={"LoadTable": Failed(0, "busy", "not yet")})
    swarm.run(30)
    assert len(me.machine.table) > 0
    me.machine._maintenance.save(swarm.now)
    assert not any(isinstance(m, SaveTable) for _, m in me.said)
    me.stored["LoadTable"] = saved
    swarm.run(20)
    asked = sum(isinstance(m, LoadTable) for _, m in me.said)
    swarm.run(60)
    assert sum(isinstance(m, LoadTable) for _, m in me.said) == asked >= 4
    me.machine._maintenance.save(swarm.now)
    swarm.tell(me)
    assert any(isinstance(m, SaveTable) for _, m in me.said)


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
    """When ten nodes see us elsewhere than our record says, the wire is told at once, and the log is warned after that;
    while nothing changes, as after the wire has died before it could save the address, it is told again each minute."""
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
    swarm.run(290)
    assert 4 <= sum(m == AddressVoted("9.9.9.9", 999) for _, m in me.said) <= 5
    swarm.tell(me, LocalRecords(swarm.signer.record("9.9.9.9", port=999).encoded, b""))
    me.said.clear()
    swarm.run(290)
    assert not any(isinstance(m, AddressVoted) for _, m in me.said)


def test_each_family_has_a_majority_of_its_own(swarm: Any) -> None:
    """A node that is seen elsewhere both by IPv4 and by IPv6 tells the wire of either, and again a minute later."""
    me, seen = swarm.add(), [("9.9.9.9", 999), ("2a00::9", 999)]
    for second in (0, 1, 2, 59, 60, 61):
        for address in seen:
            me.machine._maintenance._pinger._tell(address, 1000.0 + second)
    swarm.tell(me)
    told = [(m.host, m.port) for _, m in me.said if isinstance(m, AddressVoted)]
    assert told == seen * 2
