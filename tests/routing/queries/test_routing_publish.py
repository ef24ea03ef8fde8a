"""Publishing keys, as a pure state machine driven in a static network."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages.discv5 import Kind
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.publish import Publish


class Publishing:
    """A publication of keys in a static network."""

    def __init__(self, world: Any, keys: list[bytes], rate: float = 1e6) -> None:
        self.lookups = 0
        self.world = world
        self.published: list[tuple[bytes, int]] = []
        reach = 2**256 * 16 // len(world.ids)
        self.query = Publish(
            keys, b"record", self._lookup, may_live=lambda i: False, width=16, reach=reach, rate=rate
        )
        self.query.on_published = lambda key, nodes, now: self.published.append((key, nodes))

    def _lookup(self, key: bytes, width: int, now: float) -> Lookup:
        self.lookups += 1
        return self.world.lookup(key, width)

    def receivers(self, run: Any, key: bytes) -> list[bytes]:
        return [ask.record.node_id for ask in run.asks if ask.kind == Kind.ADD_PROVIDER and ask.key == key]


def publish_all(world: Any, count: int) -> Publishing:
    """Publish random keys, and check that each went once to each of its 16 closest live nodes."""
    keys = [world.entropy.randbytes(32) for _ in range(count)]
    job = Publishing(world, keys)
    run = world.drive(job.query)
    for key in keys:
        receivers = job.receivers(run, key)
        assert len(receivers) == job.query.sent.get(key, 0)
        assert sorted(receivers) == sorted(world.closest(key))
    assert sorted(key for key, _ in job.published) == sorted(set(keys))
    return job


@given(st.integers(0, 2**32), st.integers(1, 150), st.integers(1, 40))
def test_publish_sends_each_key_to_exactly_its_closest_nodes(
    make_world: Any, seed: int, size: int, count: int
) -> None:
    """Whether a key had a lookup or shared one."""
    publish_all(make_world(seeded(seed), size), count)


@pytest.mark.parametrize("seed", range(8))
def test_shared_lookups_are_exact_in_larger_networks(make_world: Any, seed: int) -> None:
    """Where a lookup sees only a part of the network, a key is served by it only if its 16 closest are in that part."""
    job = publish_all(make_world(seeded(seed), 400), 120)
    assert job.lookups < 60


def test_neighbouring_keys_share_lookups(make_world: Any) -> None:
    """A thousand keys in a network of 300 nodes cost fewer than 60 lookups."""
    world = make_world(seeded(9), 300)
    keys = [world.entropy.randbytes(32) for _ in range(1000)]
    job = Publishing(world, keys)
    world.drive(job.query)
    assert job.lookups < 60
    assert len(job.published) == 1000


def test_records_leave_while_the_lookup_still_runs(make_world: Any) -> None:
    """The first record is sent as soon as its place is certain, before the lookup has ended."""
    world = make_world(seeded(10), 300)
    key = world.entropy.randbytes(32)
    job = Publishing(world, [key])
    run = world.drive(job.query)
    kinds = [ask.kind for ask in run.asks]
    last = max(i for i, kind in enumerate(kinds) if kind != Kind.ADD_PROVIDER)
    assert kinds.index(Kind.ADD_PROVIDER) < last


def test_many_keys_leave_at_their_rate(make_world: Any) -> None:
    """Keys that share a neighbourhood leave at the given rate, not all at once."""
    world = make_world(seeded(11), 30)
    job = Publishing(world, [world.entropy.randbytes(32) for _ in range(108)], rate=50.0)
    run = world.drive(job.query)
    assert run.ended >= 100 / 50.0
    assert len(job.published) == 108


def test_silent_nodes_that_may_live_get_the_record_too(make_world: Any) -> None:
    """One lost answer does not cost a node its record; a send that fails is not tried again for the next key."""
    world = make_world(seeded(12), 60)
    key = world.entropy.randbytes(32)
    unlucky = world.closest(key)[3]
    world.delay = lambda i: None if i == unlucky else 0.03
    job = Publishing(world, [key])
    job.query._may_live = lambda node_id: True
    run = world.drive(job.query)
    assert unlucky in job.receivers(run, key)


def test_silent_nodes_take_the_places_of_missing_ones(make_world: Any) -> None:
    """Where few nodes answer in time, a record goes to k nodes all the same, if they may well be alive."""
    world = make_world(seeded(14), 20)
    key = world.entropy.randbytes(32)
    prompt = set(world.closest(key)[:4])
    world.delay = lambda i: 0.03 if i in prompt else 0.9
    job = Publishing(world, [key])
    job.query._may_live = lambda node_id: True
    run = world.drive(job.query)
    assert set(job.receivers(run, key)) >= set(world.closest(key))


def test_publishing_nothing_and_publishing_to_nobody_end(make_world: Any) -> None:
    """No keys: done at once. No nodes: every key is published to nobody."""
    world = make_world(seeded(13), 3, 1.0)
    assert Publishing(world, []).query.done
    job = Publishing(world, [bytes(32), b"\x01" * 32])
    world.drive(job.query)
    assert job.published == [(bytes(32), 0), (b"\x01" * 32, 0)]
