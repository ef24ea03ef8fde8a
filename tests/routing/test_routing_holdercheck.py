"""The check of a sample of what a node provides: what it makes of the holders that it finds."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, ListProvided, Publish
from codexdht.routing.settings import RoutingSettings

API = Actor.API
UNIX = 1_700_000_000.0
KEY = b"\xff" * 32


def providing(swarm: Any, published: dict[bytes, float], **settings: Any) -> Any:
    """Return a node whose store remembers these keys and when they were published, and what becomes of them."""
    swarm.grow(20)

    def listed(message: ListProvided) -> list[list[Any]]:
        rows = [[key, unix, b""] for key, unix in sorted(published.items()) if key >= message.start]
        return rows[: message.limit]

    stored = {"ListProvided": listed, "PutProvided": lambda message: published.update(message.items)}
    return swarm.join(RoutingSettings(**settings), stored=stored)


@pytest.mark.parametrize(("holders", "period"), [(16, 43200), (8, 7200), (4, 3600)])
def test_the_period_is_the_time_in_which_half_of_the_holders_leave(
    swarm: Any, holders: int, period: float
) -> None:
    """Of a key that was published two hours ago."""
    me = providing(swarm, {KEY: UNIX - 7200}, check_every=100.0)
    swarm.run(60)
    for node_id in swarm.closest(KEY, me)[:holders]:
        swarm.peers[node_id].providers[KEY] = [me.record.encoded]
    swarm.run(110)
    assert me.machine._published.period == pytest.approx(period, rel=0.03)


def test_a_shorter_period_holds_for_all_keys(swarm: Any) -> None:
    """Also those that were not drawn are published, if they are too old by the new one."""
    published = {bytes([i]) * 32: UNIX - 7200 for i in range(0, 256, 8)}
    me = providing(swarm, published, check_every=100.0, check_sample=2)
    swarm.run(220)
    assert me.machine._published.period == RoutingSettings().republish_min
    assert {key for peer in swarm.peers.values() for key in peer.providers} == set(published)


def test_a_key_that_was_just_published_tells_nothing(swarm: Any) -> None:
    """Its records may be on their way still, and nobody leaves as fast as that would say."""
    published = {KEY: UNIX}
    me = providing(swarm, published, check_every=100.0, check_sample=1)
    while not me.machine._published._walking:
        swarm.run(1)
    swarm.run(60)
    published[KEY] = swarm.now + me.machine.local.unix_offset
    swarm.run(80)
    assert any(call.kind == Kind.GET_PROVIDERS for call in me.calls)
    assert me.counters["keys_found_missing"] == 0
    assert me.machine._published.period == 43200


def test_a_key_that_is_published_while_its_holders_are_counted_is_not_published_twice(swarm: Any) -> None:
    """Its user was faster than the check."""
    me = providing(swarm, {KEY: UNIX - 7200}, check_every=100.0, check_sample=1)
    while not any(call.kind == Kind.GET_PROVIDERS for call in me.calls):
        swarm.run(0.01)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    swarm.run(30)
    assert all(len(peer.providers.get(KEY, [])) <= 1 for peer in swarm.peers.values())
