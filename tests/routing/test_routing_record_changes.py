"""What becomes of what a node provides when its own record changes."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages.internal import (
    Actor,
    LocalRecords,
    Publish,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
UNIX = 1_700_000_000.0
KEY = b"\x42" * 32


def test_a_changed_record_is_published_under_the_keys_of_the_old_one(swarm: Any, memory: Any) -> None:
    """Two minutes after the address has changed, its holders know; a record of the user's own stays as it is. That
    happens once for each change, and not for a record whose seq lies in the future."""
    swarm.grow(20)
    key, own = swarm.signer.key(), swarm.signer.record().encoded
    me = swarm.join(record=swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(60)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    swarm.ask(me, Publish(API, 2, swarm.now + 5, [b"\x43" * 32], own), 6)
    told = [swarm.changed(me, key, port) for port in (9001, 9002)]
    for records in told:
        swarm.tell(me, records)
        swarm.run(1)
    swarm.run(120)
    received = [[*peer.providers.get(KEY, [])] for peer in swarm.peers.values()]
    assert sum(records[-1:] == [told[1].record] for records in received) >= 16
    assert all(len(records) <= 2 for records in received)
    assert not any(own in records[1:] for peer in swarm.peers.values() for records in peer.providers.values())
    ahead = swarm.signer.record(key=key, seq=2**40).encoded
    swarm.tell(me, LocalRecords(ahead, b""))
    swarm.run(120)
    assert received == [peer.providers.get(KEY, []) for peer in swarm.peers.values()]


def test_a_record_that_changed_while_the_node_was_down_is_published(swarm: Any, memory: Any) -> None:
    """A restarted node sees that its record is younger than what it has published, or of the same second."""
    swarm.grow(20)
    record = swarm.signer.record(seq=int(UNIX) - 10)
    memory.items = {bytes([i]) * 32: (UNIX - 5 * i, b"") for i in range(1, 5)}
    swarm.join(record=record, stored=memory.answers())
    swarm.run(90)
    held = {key for peer in swarm.peers.values() for key in peer.providers}
    assert held == {b"\x02" * 32, b"\x03" * 32, b"\x04" * 32}


@pytest.mark.parametrize(("count", "after", "rate"), [(200, 2.0, 40.0), (1, 0.05, 40.0), (60, 1.0, 0.5)])
def test_a_record_that_changes_while_keys_are_being_published_reaches_them_all(
    swarm: Any, memory: Any, count: int, after: float, rate: float
) -> None:
    """Keys that are on their way when the record changes are published with the new one a minute or two later; those
    that are still on their way then, a minute after they have arrived."""
    swarm.grow(20)
    key = swarm.signer.key()
    record = swarm.signer.record(key=key, seq=int(UNIX) - 100)
    me = swarm.join(RoutingSettings(publish_rate=rate), record=record, stored=memory.answers())
    swarm.run(60.2)
    keys = [bytes([i, 0x55]) * 16 for i in range(count)]
    swarm.tell(me, Publish(API, 1, swarm.now + 5, keys, record.encoded))
    swarm.run(after)
    told = swarm.changed(me, key, 9001)
    swarm.tell(me, told)
    swarm.run(140 + 2 * count / rate)
    last = {k: {p.providers[k][-1] for p in swarm.peers.values() if k in p.providers} for k in keys}
    assert all(records == {told.record} for records in last.values())
    assert all(unix > UNIX for unix, _ in memory.items.values())


def test_our_own_record_is_published_as_it_is_by_then(swarm: Any, memory: Any) -> None:
    """Whoever asks need not know of its last change. A process that has just started waits for it, and takes none for
    the user's own: it would be published for ever."""
    swarm.grow(20)
    key = swarm.signer.key()
    me = swarm.join(record=swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(60)
    told = swarm.changed(me, key, 9001)
    swarm.tell(me, LocalRecords(b"", b""))
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], b""))
    assert memory.items == {}
    swarm.tell(me, told)
    swarm.run(4)
    assert me.answer(1)["complete"]
    assert memory.items[KEY][1] == b""
    records = [peer.providers[KEY] for peer in swarm.peers.values() if KEY in peer.providers]
    assert records == [[told.record]] * 16
