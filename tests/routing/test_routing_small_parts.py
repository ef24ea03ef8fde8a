"""Votes, connectivity, the memory of nodes that lack FIND_NODE_FAST, networks, timers, snapshots."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

from codexdht.messages.discv5 import Kind
from codexdht.records import RecordCache
from codexdht.records.networks import Scope, network_of, scope_of
from codexdht.routing import snapshot
from codexdht.routing.connectivity import Connectivity
from codexdht.routing.fastnodes import FastSupport
from codexdht.routing.settings import RoutingSettings
from codexdht.routing.table import RoutingTable
from codexdht.routing.timers import Timers
from codexdht.routing.votes import AddressVotes

SEEN = ("9.9.9.9", 9000)


def vote(votes: AddressVotes, i: int, seen: tuple[str, int] = SEEN, now: float = 0.0, host: str = "") -> bool:
    return votes.add(bytes([i]) * 32, host or f"5.5.{i}.1", seen, now)


def test_ten_voters_of_whom_most_agree_decide() -> None:
    """Nine votes decide nothing; of ten, six that agree do, five do not."""
    votes = AddressVotes(RoutingSettings())
    for i in range(9):
        vote(votes, i, SEEN if i < 5 else ("7.7.7.7", i))
    assert votes.majority("9.9.9.9", 1.0) is None
    vote(votes, 9, ("7.7.7.7", 99))
    assert votes.majority("9.9.9.9", 1.0) is None
    vote(votes, 8)
    assert votes.majority("9.9.9.9", 1.0) == SEEN


def test_one_vote_a_node_two_a_network_five_minutes() -> None:
    """A node's newer vote replaces its older one; a third voter of a /24 is refused; votes expire."""
    votes = AddressVotes(RoutingSettings(votes_needed=2))
    assert vote(votes, 1, host="5.5.5.1")
    assert vote(votes, 1, ("7.7.7.7", 1), host="5.5.5.1")
    assert vote(votes, 2, ("7.7.7.7", 1), host="5.5.5.2")
    assert not vote(votes, 3, host="5.5.5.3")
    assert votes.majority("9.9.9.9", 299.0) == ("7.7.7.7", 1)
    assert votes.majority("9.9.9.9", 301.0) is None


def test_families_are_counted_apart() -> None:
    """Voters that reach us over IPv6 say nothing about our IPv4 address."""
    votes = AddressVotes(RoutingSettings(votes_needed=3))
    for i in range(3):
        vote(votes, i, ("2a00::1", 9))
        vote(votes, 10 + i)
    assert votes.majority("1.1.1.1", 1.0) == SEEN
    assert votes.majority("::1", 1.0) == ("2a00::1", 9)


def test_a_minute_of_failures_is_our_fault_until_something_answers() -> None:
    """When most of enough requests of the last minute fail, the fault is ours; one answer ends that."""
    state = Connectivity()
    for _ in range(20):
        state.answered(0.0)
    for _ in range(20):
        state.failed(70.0)
        if state.ours:
            break
    assert state.ours
    state.failed(200.0)
    assert state.ours
    state.answered(201.0)
    assert not state.ours
    for _ in range(5):
        state.failed(202.0)
    assert not state.ours


def test_some_failures_are_not_our_fault() -> None:
    """As long as half of the requests are answered, nodes are to blame."""
    state = Connectivity()
    for second in range(600):
        state.answered(second)
        state.failed(second)
        assert not state.ours


def test_nodes_that_lack_the_fast_kind_are_remembered() -> None:
    """Two timeouts lead to FIND_NODE; its answer settles it, its timeout makes everything unknown again."""
    fast = FastSupport()
    node, gone = b"a" * 32, b"b" * 32
    for node_id in (node, gone):
        assert fast.kind_for(node_id) is Kind.FIND_NODE_FAST
        fast.timed_out(node_id, Kind.FIND_NODE_FAST)
        assert fast.kind_for(node_id) is Kind.FIND_NODE_FAST
        fast.timed_out(node_id, Kind.FIND_NODE_FAST)
        assert fast.kind_for(node_id) is Kind.FIND_NODE
    fast.answered(node, Kind.FIND_NODE)
    fast.timed_out(node, Kind.FIND_NODE)
    assert fast.kind_for(node) is Kind.FIND_NODE
    fast.timed_out(gone, Kind.FIND_NODE)
    assert fast.kind_for(gone) is Kind.FIND_NODE_FAST
    fast.answered(node, Kind.PING)
    assert fast.kind_for(node) is Kind.FIND_NODE


def test_networks_and_scopes() -> None:
    """/24 and /64 are what limits count by; which addresses count is a setting."""
    assert network_of("8.8.8.8", "public") == network_of("8.8.8.1", "all") == "8.8.8.0/24"
    assert network_of("2a00::1:2", "public") == "2a00::/64"
    assert network_of("10.0.0.1", "public") is network_of("8.8.8.8", "off") is None
    assert network_of("10.0.0.1", "all") == "10.0.0.0/24"
    assert [scope_of(host) for host in ("::1", "fe80::1", "8.8.8.8")] == [
        Scope.LOOPBACK,
        Scope.PRIVATE,
        Scope.PUBLIC,
    ]


def test_timers_run_in_order_and_what_they_set_waits() -> None:
    """Actions run by time, then by the order in which they were set."""
    timers, ran = Timers(), []
    timers.at(2.0, lambda now: ran.append("late"))
    timers.at(1.0, lambda now: (ran.append("first"), timers.at(now, lambda at: ran.append("again"))))
    timers.at(1.0, lambda now: ran.append("second"))
    timers.run(1.5)
    assert (ran, timers.next()) == (["first", "second"], 1.5)
    timers.run(2.0)
    assert (ran[2:], timers.next()) == (["again", "late"], None)


def test_cancelled_timers_hold_nothing() -> None:
    """Their actions are let go of at once, their places when they are more than the others; the order stays."""
    timers, ran = Timers(), []
    set_ = [timers.at(100.0 - n, lambda now, n=n: ran.append(n)) for n in range(100)]
    action = weakref.ref(set_[0].action)
    for timer in set_[:60] * 2:
        timers.cancel(timer)
    assert action() is None
    assert len(timers) < 80
    timers.run(50.0)
    assert ran == list(range(99, 59, -1))
    assert timers.at(60.0, ran.append).action is not None
    timers.run(200.0)
    assert (ran[40:], timers.next()) == ([200.0], None)


def test_an_action_may_cancel_one_of_its_moment() -> None:
    """It does not run then, and nothing comes of cancelling what has run."""
    timers, ran = Timers(), []
    first = timers.at(1.0, lambda now: (timers.cancel(first), timers.cancel(second)))
    second = timers.at(1.0, ran.append)
    timers.at(1.0, ran.append)
    timers.run(1.0)
    assert (ran, len(timers)) == ([1.0], 0)


def test_a_table_survives_saving_and_loading(signer: Any) -> None:
    """Timing, reliability and ages come back on another clock; nothing is relayed before it answers again."""
    table = RoutingTable(bytes(32), RoutingSettings(), Counter())
    record, unseen = signer.record(), signer.record()
    table.answered(record, 0.1, 50.0)
    table.answered(record, 0.3, 60.0)
    table.add(unseen, 60.0)
    saved = snapshot.dump(table, unix_offset=1000.0)
    entries = snapshot.load([*saved, {"record": b"junk"}, 7], 500.0, "public", RecordCache(10))
    assert [entry.record for entry in entries] == [record, unseen]
    old, new = table.get(record.node_id), entries[0]
    assert old is not None
    assert (new.rtt, new.rtt_min, new.reliability, new.answers) == (old.rtt, 0.1, 1.0, 2)
    assert (new.first_seen, new.last_seen) == (550.0, 560.0)
    again = RoutingTable(bytes(32), RoutingSettings(), Counter())
    assert all(again.restore(entry) for entry in entries)
    assert again.closest(bytes(32), 5) == []
    again.answered(record, 0.1, 600.0)
    assert len(again.closest(bytes(32), 5)) == 1
    assert snapshot.load(None, 0.0, "public", RecordCache(10)) == []
