"""What a node provides is remembered and published again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    CallFailed,
    ClockSet,
    Done,
    Failed,
    Hello,
    Publish,
    PutProvided,
    PutProvider,
    Stats,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
UNIX = 1_700_000_000.0
KEY = b"\x42" * 32
FAST = {"republish_every": 600.0, "republish_min": 60.0, "check_every": 100.0, "save_every": 1e9}


def test_what_is_published_is_remembered_and_published_again(swarm: Any, memory: Any) -> None:
    """Publishing writes the key down, and its time; within one and a half periods it is published again."""
    swarm.grow(20)
    me = swarm.join(RoutingSettings(**FAST), stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    first = memory.items[KEY]
    assert first[0] > 0
    assert first[1] == b""
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(900)
    assert memory.items[KEY][0] > first[0]
    assert any(KEY in peer.providers for peer in swarm.peers.values())


@pytest.mark.parametrize("answer", [Done(0, None), Failed(0, "storage_full", "no room")])
def test_users_hear_of_a_publication_when_it_is_remembered(swarm: Any, answer: Done | Failed) -> None:
    """Nothing acknowledged is lost: also where nobody is there to publish to, the store is waited for, and believed."""
    me = swarm.add()
    swarm._store = lambda peer, message: None
    assert swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 1) is None
    [put] = [message for _, message in me.said if isinstance(message, PutProvided)]
    swarm.tell(me, replace(answer, request=put.request))
    swarm.run(10)
    replies = [m for actor, m in me.said if actor is API and getattr(m, "request", None) == 1]
    done = Done(1, {"nodes": [0], "complete": True})
    assert replies == [done if isinstance(answer, Done) else replace(answer, request=1)]


def test_what_is_published_again_is_refreshed_here_too(swarm: Any, memory: Any) -> None:
    """Our own store, which forgets like all others, is told each time, with the record as it is by then."""
    swarm.grow(20)
    key = swarm.signer.key()
    me = swarm.join(RoutingSettings(**FAST), record=swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    told = swarm.changed(me, key, 9001)
    swarm.tell(me, told)
    swarm.run(900)
    refreshed = [message for _, message in me.said if isinstance(message, PutProvider)]
    assert refreshed
    assert {message.record for message in refreshed} == {told.record}
    assert all(message.keys == [KEY] for message in refreshed)


def test_a_publication_of_a_clock_that_was_ahead_does_not_count(swarm: Any, memory: Any) -> None:
    """After the clock was set back, a key that bears a time of the future is published with the next walk."""
    swarm.grow(20)
    me = swarm.join(RoutingSettings(**FAST), stored=memory.answers())
    swarm.run(5)
    offset = me.machine.local.unix_offset
    swarm.tell(me, ClockSet(offset + 365 * 86400.0))
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    assert memory.items[KEY][0] > swarm.now + offset + 300 * 86400
    swarm.tell(me, ClockSet(offset))
    swarm.run(700)
    assert 0 < memory.items[KEY][0] < swarm.now + offset


def test_a_machine_that_slept_publishes_what_has_become_old_meanwhile(swarm: Any, memory: Any) -> None:
    """Its monotonic clock stood still, and so did the walk, which may be half a day from a key that others forget."""
    swarm.grow(20)
    me = swarm.join(stored=memory.answers())
    swarm.run(60)
    keys = [bytes([i]) * 32 for i in range(0, 256, 16)]
    swarm.ask(me, Publish(API, 1, swarm.now + 5, keys, me.record.encoded), 60)
    slept = 20 * 3600.0
    swarm.tell(me, ClockSet(me.machine.local.unix_offset + slept))
    swarm.run(120)
    assert all(unix > UNIX + slept for unix, _ in memory.items.values())
    assert len(memory.items) == 16


@pytest.mark.parametrize("key", [b"\xff" * 32, bytes(32)], ids=["highest", "lowest"])
def test_lost_holders_are_noticed_and_shorten_the_period(swarm: Any, memory: Any, key: bytes) -> None:
    """When a check finds that hardly anybody still has a key, it is published at once, and all more often from then.
    Every key may be drawn, the lowest as well, and each of them is looked up once."""
    swarm.grow(20)
    settings = RoutingSettings(republish_every=36000.0, republish_min=60.0, check_every=200.0)
    me = swarm.join(settings, stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [key], me.record.encoded), 6)
    swarm.run(100)
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(130)
    assert sum(key in peer.providers for peer in swarm.peers.values()) >= 16
    assert sum(call.kind == Kind.GET_PROVIDERS for call in me.calls) <= 20
    assert me.counters["keys_found_missing"] == 1
    swarm.run(30)
    assert swarm.ask(me, Stats(API, 2, swarm.now + 1))["gauges"]["republish_period"] < 1000


def test_after_a_restart_overdue_keys_are_published(swarm: Any, memory: Any) -> None:
    """A new process finds in the store what it provides, with the record that it was provided by."""
    swarm.grow(20)
    record = swarm.signer.record().encoded
    memory.items = {bytes([i]) * 32: (0.0, record if i == 1 else b"") for i in range(1, 9)}
    me = swarm.join(RoutingSettings(), stored=memory.answers())
    swarm.run(90)
    held = {key: records for p in swarm.peers.values() for key, records in p.providers.items()}
    assert len(held) == 8
    assert set(held[b"\x01" * 32]) == {record}
    assert set(held[b"\x02" * 32]) == {me.record.encoded}
    assert all(unix > 0 for unix, _ in memory.items.values())


def test_republishing_may_be_left_to_the_caller(swarm: Any, memory: Any) -> None:
    """With `republish` false nothing is remembered and nothing is published twice."""
    swarm.grow(20)
    settings = RoutingSettings(republish=False)
    me = swarm.join(settings, stored=memory.answers())
    swarm.run(5)
    assert swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)["complete"]
    swarm.run(60)
    assert memory.items == {}
    assert not [m for _, m in me.said if type(m).__name__ == "ListProvided"]


@pytest.mark.parametrize("outage", [0.02, 0.8])
def test_a_wire_that_is_restarted_in_mid_publication_leaves_no_node_out(
    swarm: Any, memory: Any, outage: float
) -> None:
    """What it had not sent yet, or could not while it was not open, says nothing of the nodes: all keys are with all 16
    that should hold them a minute or two later, and the user is told that it is not complete."""
    swarm.grow(25)
    me = swarm.join(stored=memory.answers())
    swarm.run(60)
    keys = [bytes([i, 0x55]) * 16 for i in range(100)]
    swarm.tell(me, Publish(API, 1, swarm.now + 5, keys, me.record.encoded))
    swarm.run(0.5)
    swarm.tell(me, Hello(Actor.WIRE))
    swarm.script = lambda peer, call: [CallFailed(call.call, "closed")] if peer is me else None
    swarm.run(outage)
    swarm.script = None
    swarm.run(150)
    assert me.counters["calls_lost"] > 0
    assert me.answer(1)["complete"] is False
    for key in keys:
        assert all(key in swarm.peers[node].providers for node in swarm.closest(key, me))
    assert all(unix > UNIX for unix, _ in memory.items.values())


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_record_of_another_node_is_not_taken_for_lost(swarm: Any, memory: Any, is_taken: bool) -> None:
    """Neither where it is held, nor where all nodes refuse records of others than their senders."""
    swarm.grow(20)
    other = swarm.signer.record().encoded
    settings = RoutingSettings(check_every=100.0, check_sample=32)
    me = swarm.join(settings, stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [b"\xff" * 32], other), 80)
    for peer in swarm.peers.values():
        peer.providers = peer.providers if is_taken else {}
    swarm.run(150)
    assert any(call.kind == Kind.GET_PROVIDERS for call in me.calls)
    assert me.counters["keys_found_missing"] == 0
    assert is_taken or me.machine._published.period == settings.republish_every


def test_keys_that_wait_to_be_published_hide_no_churn(swarm: Any, memory: Any) -> None:
    """A check that comes while many keys are being published for the first time judges by the others."""
    swarm.grow(20)
    settings = RoutingSettings(check_every=100.0, publish_rate=1.0)
    me = swarm.join(settings, stored=memory.answers())
    swarm.run(5)
    old = [bytes([i]) + b"\x80" * 31 for i in range(0, 256, 16)]
    swarm.ask(me, Publish(API, 1, swarm.now + 5, old, me.record.encoded), 20)
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(70)
    new = [bytes([i]) + b"\x70" * 31 for i in range(0, 256, 32)]
    swarm.tell(me, Publish(API, 2, swarm.now + 5, new, me.record.encoded))
    memory.items.update({bytes([i]) + b"\x60" * 31: (0.0, b"") for i in range(0, 256, 32)})
    swarm.run(50)
    assert me.counters["keys_found_missing"] > 0
    assert me.machine._published.period == settings.republish_min


def test_keys_whose_turn_came_while_the_node_was_down_are_published(swarm: Any, memory: Any) -> None:
    """After a restart a key is published that would be older than one and a half periods when the walk comes to it
    next. All others wait for their turn, which spreads them."""
    swarm.grow(20)
    hour = 3600.0

    def key_of(past: float) -> bytes:
        """Return a key to which the walk came so many hours ago."""
        turns = (UNIX / hour - past) / 12
        return int((turns % 1) * 2**256).to_bytes(32, "big")

    waiting = {key_of(hours): UNIX - hours * hour for hours in range(1, 12)}
    waiting |= {key_of(0.2): UNIX - 5.6 * hour, key_of(6.2): UNIX - 11.8 * hour}
    missed = {key_of(0.3): UNIX - 11 * hour, key_of(0.4): UNIX - 6.7 * hour, key_of(6.3): UNIX - 12.4 * hour}
    memory.items = {key: (unix, b"") for key, unix in (waiting | missed).items()}
    swarm.join(stored=memory.answers())
    swarm.run(90)
    assert {key for peer in swarm.peers.values() for key in peer.providers} == set(missed)


def test_the_period_leaves_time_before_others_forget() -> None:
    """One and a half periods are shorter than the 24 h for which records live; else the setting is refused."""
    assert msgspec.convert({"republish_every": 15 * 3600.0}, RoutingSettings).republish_every == 54000
    with pytest.raises(msgspec.ValidationError, match="republish_every"):
        msgspec.convert({"republish_every": 16 * 3600.0}, RoutingSettings)
