"""Whose fault silence is: a cut-off node loses nobody, dead nodes go, and nobody blames itself for them."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages.internal import Actor, Lookup
from codexdht.routing.connectivity import Connectivity

MINUTE = 60.0


def test_silence_is_noticed_within_a_minute() -> None:
    """A node that asks little, and mostly those that fail already, knows within a minute of its last answer."""
    state = Connectivity()
    for second in range(0, 100, 5):
        state.answered(float(second))
    now = 95.0
    while not state.ours:
        now += 4.0
        state.failed(now, expected=True)
    assert now - 95.0 <= MINUTE


def test_a_busy_node_notices_at_once() -> None:
    """Where more of the last minute's requests fail than were answered, nothing has to be waited for."""
    state = Connectivity()
    for _ in range(20):
        state.answered(10.0)
    for _ in range(21):
        state.failed(11.0)
    assert state.ours


def test_failures_between_answers_are_not_ours() -> None:
    """However many of the requests fail: while somebody answers now and then, it is the others who are gone."""
    state = Connectivity()
    for second in range(600):
        state.answered(float(second))
        for _ in range(7):
            state.failed(float(second))
            assert not state.ours


def test_nodes_that_fail_already_do_not_outweigh_those_that_answer() -> None:
    """Dead nodes are asked again and again, which says nothing while anybody answers within the minute."""
    state = Connectivity()
    for second in range(600):
        if second % 30 == 0:
            state.answered(float(second))
        state.failed(float(second), expected=True)
        assert not state.ours


def is_cut_off(peer: Any) -> bool:
    return bool(peer.counters["failures_blamed_on_us"])


def known(peer: Any) -> set[bytes]:
    return {entry.node_id for entry in peer.machine.table}


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_node_that_is_cut_off_loses_nobody(make_swarm: Any, seed: int) -> None:
    """It knows within a minute, has lost nobody after ten, and goes on by itself when others answer again."""
    swarm = make_swarm(seed)
    me, *others = swarm.grow(20)
    swarm.run(120)
    table = known(me)
    for peer in others:
        peer.alive = False
    swarm.run(MINUTE)
    assert is_cut_off(me)
    swarm.run(540)
    assert known(me) == table
    for peer in others:
        peer.alive = True
    swarm.run(MINUTE)
    target = bytes(range(32))
    found = swarm.ask(me, Lookup(Actor.API, 1, swarm.now + 3, target), 4)
    assert found["nodes"] == [swarm.peers[i].record.encoded for i in swarm.closest(target, me)]


@pytest.mark.parametrize("seed", [1, 2])
def test_when_a_third_stops_nobody_blames_itself_and_the_dead_go(make_swarm: Any, seed: int) -> None:
    """30 % of the nodes stop at once: not one failure is blamed on ourselves, and in ten minutes all of them are gone
    from all tables, and nobody else."""
    swarm = make_swarm(seed)
    peers = swarm.grow(40)
    swarm.run(120)
    dead = {peer.record.node_id for peer in peers[:12]}
    for peer in peers[:12]:
        peer.alive = False
    living = [peer for peer in peers if peer.alive]
    tables = [known(peer) - dead for peer in living]
    swarm.run(600)
    assert not any(is_cut_off(peer) for peer in living)
    after = [known(peer) for peer in living]
    assert sum(len(table & dead) for table in after) <= 0.01 * sum(map(len, after))
    assert all(before <= table for before, table in zip(tables, after, strict=True))
