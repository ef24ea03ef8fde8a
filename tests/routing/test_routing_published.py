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
    DropProvided,
    Failed,
    Hello,
    ListProvided,
    LocalRecords,
    Publish,
    PutProvided,
    PutProvider,
    Stats,
    Withdraw,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
UNIX = 1_700_000_000.0
KEY = b"\x42" * 32


class Provided:
    """A store's memory of what is provided."""

    def __init__(self) -> None:
        self.items: dict[bytes, tuple[float, bytes]] = {}

    def answers(self) -> dict[str, Any]:
        return {"PutProvided": self.put, "DropProvided": self.drop, "ListProvided": self.list}

    def put(self, message: PutProvided) -> None:
        for key, unix in message.items:
            self.items[key] = (unix, message.record)

    def drop(self, message: DropProvided) -> None:
        for key in message.keys:
            self.items.pop(key, None)

    def list(self, message: Any) -> list[list[Any]]:
        keys = sorted(key for key in self.items if key >= message.start)[: message.limit]
        return [[key, *self.items[key]] for key in keys]


FAST = {"republish_every": 600.0, "republish_min": 60.0, "check_every": 100.0, "save_every": 1e9}


def test_what_is_published_is_remembered_and_published_again(swarm: Any) -> None:
    """Publishing writes the key down, and its time; within one and a half periods it is published again."""
    swarm.grow(20)
    memory = Provided()
    me = swarm.add(
        [next(iter(swarm.peers.values())).record], RoutingSettings(**FAST), stored=memory.answers()
    )
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


def test_what_is_published_again_is_refreshed_here_too(swarm: Any) -> None:
    """Our own store, which forgets like all others, is told each time, with the record as it is by then."""
    swarm.grow(20)
    memory, key = Provided(), swarm.signer.key()
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], RoutingSettings(**FAST), swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    told = changed(swarm, me, key, 9001)
    swarm.tell(me, told)
    swarm.run(900)
    refreshed = [message for _, message in me.said if isinstance(message, PutProvider)]
    assert refreshed
    assert {message.record for message in refreshed} == {told.record}
    assert all(message.keys == [KEY] for message in refreshed)


def test_a_publication_of_a_clock_that_was_ahead_does_not_count(swarm: Any) -> None:
    """After the clock was set back, a key that bears a time of the future is published with the next walk."""
    swarm.grow(20)
    memory = Provided()
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], RoutingSettings(**FAST), stored=memory.answers())
    swarm.run(5)
    offset = me.machine.local.unix_offset
    swarm.tell(me, ClockSet(offset + 365 * 86400.0))
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    assert memory.items[KEY][0] > swarm.now + offset + 300 * 86400
    swarm.tell(me, ClockSet(offset))
    swarm.run(700)
    assert 0 < memory.items[KEY][0] < swarm.now + offset


def test_a_machine_that_slept_publishes_what_has_become_old_meanwhile(swarm: Any) -> None:
    """Its monotonic clock stood still, and so did the walk, which may be half a day from a key that others forget."""
    swarm.grow(20)
    memory = Provided()
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], stored=memory.answers())
    swarm.run(60)
    keys = [bytes([i]) * 32 for i in range(0, 256, 16)]
    swarm.ask(me, Publish(API, 1, swarm.now + 5, keys, me.record.encoded), 60)
    slept = 20 * 3600.0
    swarm.tell(me, ClockSet(me.machine.local.unix_offset + slept))
    swarm.run(120)
    assert all(unix > UNIX + slept for unix, _ in memory.items.values())
    assert len(memory.items) == 16


@pytest.mark.parametrize("key", [b"\xff" * 32, bytes(32)], ids=["highest", "lowest"])
def test_lost_holders_are_noticed_and_shorten_the_period(swarm: Any, key: bytes) -> None:
    """When a check finds that hardly anybody still has a key, it is published at once, and all more often from then.
    Every key may be drawn, the lowest as well, and each of them is looked up once."""
    swarm.grow(20)
    memory = Provided()
    settings = RoutingSettings(republish_every=36000.0, republish_min=60.0, check_every=200.0)
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
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


def test_after_a_restart_overdue_keys_are_published(swarm: Any) -> None:
    """A new process finds in the store what it provides, with the record that it was provided by."""
    swarm.grow(20)
    memory = Provided()
    record = swarm.signer.record().encoded
    memory.items = {bytes([i]) * 32: (0.0, record if i == 1 else b"") for i in range(1, 9)}
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], RoutingSettings(), stored=memory.answers())
    swarm.run(90)
    held = {key: records for p in swarm.peers.values() for key, records in p.providers.items()}
    assert len(held) == 8
    assert set(held[b"\x01" * 32]) == {record}
    assert set(held[b"\x02" * 32]) == {me.record.encoded}
    assert all(unix > 0 for unix, _ in memory.items.values())


def test_withdrawn_keys_stay_withdrawn(swarm: Any) -> None:
    """Also when their publication is still under way."""
    swarm.grow(20)
    memory = Provided()
    me = swarm.add(
        [next(iter(swarm.peers.values())).record], RoutingSettings(**FAST), stored=memory.answers()
    )
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    swarm.run(0.1)
    assert KEY in memory.items
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    swarm.run(20)
    assert me.reply(2) == Done(2, None)
    assert memory.items == {}


def test_republishing_may_be_left_to_the_caller(swarm: Any) -> None:
    """With `republish` false nothing is remembered and nothing is published twice."""
    swarm.grow(20)
    settings = RoutingSettings(republish=False)
    memory = Provided()
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
    swarm.run(5)
    assert swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)["complete"]
    swarm.run(60)
    assert memory.items == {}
    assert not [m for _, m in me.said if type(m).__name__ == "ListProvided"]


def changed(swarm: Any, me: Any, key: Any, port: int) -> LocalRecords:
    """Return what the wire says after it has signed another record now."""
    record = swarm.signer.record(key=key, seq=int(swarm.now + me.machine.local.unix_offset), port=port)
    return LocalRecords(record.encoded, b"")


def test_a_changed_record_is_published_under_the_keys_of_the_old_one(swarm: Any) -> None:
    """Two minutes after the address has changed, its holders know; a record of the user's own stays as it is. That
    happens once for each change, and not for a record whose seq lies in the future."""
    swarm.grow(20)
    memory, key, own = Provided(), swarm.signer.key(), swarm.signer.record().encoded
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], record=swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(60)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded), 6)
    swarm.ask(me, Publish(API, 2, swarm.now + 5, [b"\x43" * 32], own), 6)
    told = [changed(swarm, me, key, port) for port in (9001, 9002)]
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


def test_a_record_that_changed_while_the_node_was_down_is_published(swarm: Any) -> None:
    """A restarted node sees that its record is younger than what it has published, or of the same second."""
    swarm.grow(20)
    memory = Provided()
    record = swarm.signer.record(seq=int(UNIX) - 10)
    memory.items = {bytes([i]) * 32: (UNIX - 5 * i, b"") for i in range(1, 5)}
    boot = next(iter(swarm.peers.values())).record
    swarm.add([boot], record=record, stored=memory.answers())
    swarm.run(90)
    held = {key for peer in swarm.peers.values() for key in peer.providers}
    assert held == {b"\x02" * 32, b"\x03" * 32, b"\x04" * 32}


@pytest.mark.parametrize(("count", "after", "rate"), [(200, 2.0, 40.0), (1, 0.05, 40.0), (60, 1.0, 0.5)])
def test_a_record_that_changes_while_keys_are_being_published_reaches_them_all(
    swarm: Any, count: int, after: float, rate: float
) -> None:
    """Keys that are on their way when the record changes are published with the new one a minute or two later; those
    that are still on their way then, a minute after they have arrived."""
    swarm.grow(20)
    memory, key = Provided(), swarm.signer.key()
    boot = next(iter(swarm.peers.values())).record
    record = swarm.signer.record(key=key, seq=int(UNIX) - 100)
    me = swarm.add([boot], RoutingSettings(publish_rate=rate), record=record, stored=memory.answers())
    swarm.run(60.2)
    keys = [bytes([i, 0x55]) * 16 for i in range(count)]
    swarm.tell(me, Publish(API, 1, swarm.now + 5, keys, record.encoded))
    swarm.run(after)
    told = changed(swarm, me, key, 9001)
    swarm.tell(me, told)
    swarm.run(140 + 2 * count / rate)
    last = {k: {p.providers[k][-1] for p in swarm.peers.values() if k in p.providers} for k in keys}
    assert all(records == {told.record} for records in last.values())
    assert all(unix > UNIX for unix, _ in memory.items.values())


def test_our_own_record_is_published_as_it_is_by_then(swarm: Any) -> None:
    """Whoever asks need not know of its last change. A process that has just started waits for it, and takes none for
    the user's own: it would be published for ever."""
    swarm.grow(20)
    memory, key = Provided(), swarm.signer.key()
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], record=swarm.signer.record(key=key), stored=memory.answers())
    swarm.run(60)
    told = changed(swarm, me, key, 9001)
    swarm.tell(me, LocalRecords(b"", b""))
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], b""))
    assert memory.items == {}
    swarm.tell(me, told)
    swarm.run(4)
    assert me.answer(1)["complete"]
    assert memory.items[KEY][1] == b""
    records = [peer.providers[KEY] for peer in swarm.peers.values() if KEY in peer.providers]
    assert records == [[told.record]] * 16


def test_a_key_may_be_withdrawn_while_its_publication_waits_for_our_record(swarm: Any) -> None:
    """It is neither published nor remembered when the wire has told the record; the others of the request are."""
    swarm.grow(20)
    memory, other = Provided(), b"\x07" * 32
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], stored=memory.answers())
    swarm.run(60)
    swarm.tell(me, LocalRecords(b"", b""))
    swarm.tell(
        me, Publish(API, 1, swarm.now + 5, [KEY, other], b""), Publish(API, 2, swarm.now + 5, [KEY], b"")
    )
    assert swarm.ask(me, Withdraw(API, 3, swarm.now + 5, [KEY])) is None
    assert me.reply(3) == Done(3, None)
    swarm.tell(me, LocalRecords(me.record.encoded, b""))
    swarm.run(60)
    assert me.answer(1) == {"nodes": [0, 16], "complete": True}
    assert me.answer(2) == {"nodes": [0], "complete": True}
    assert list(memory.items) == [other]
    assert not any(KEY in peer.providers for peer in swarm.peers.values())


@pytest.mark.parametrize("outage", [0.02, 0.8])
def test_a_wire_that_is_restarted_in_mid_publication_leaves_no_node_out(swarm: Any, outage: float) -> None:
    """What it had not sent yet, or could not while it was not open, says nothing of the nodes: all keys are with all 16
    that should hold them a minute or two later."""
    swarm.grow(25)
    memory = Provided()
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], stored=memory.answers())
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
    for key in keys:
        assert all(key in swarm.peers[node].providers for node in swarm.closest(key, me))
    assert all(unix > UNIX for unix, _ in memory.items.values())


def test_keys_that_wait_their_turn_in_a_sweep_may_be_withdrawn_or_published(swarm: Any) -> None:
    """A key that is withdrawn while those of other records are published is neither published nor remembered; one that
    its user publishes with another record meanwhile stays with that."""
    swarm.grow(20)
    memory = Provided()
    boot = next(iter(swarm.peers.values())).record
    own = [swarm.signer.record().encoded for _ in range(9)]
    memory.items = {bytes([i]) * 32: (0.0, own[i]) for i in range(8)}
    me = swarm.add([boot], stored=memory.answers())
    while not me.machine._published._active:
        swarm.run(0.01)
    [*withdrawn, changed] = [key for key in memory.items if key not in me.machine._published._active]
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, withdrawn))
    swarm.tell(me, Publish(API, 3, swarm.now + 5, [changed], own[8]))
    swarm.run(60)
    held = {key: records for peer in swarm.peers.values() for key, records in peer.providers.items()}
    assert len(withdrawn) == 6
    assert not memory.items.keys() & set(withdrawn)
    assert not held.keys() & set(withdrawn)
    assert memory.items[changed][1] == own[8]
    assert set(held[changed]) == {own[8]}


def test_a_key_may_be_withdrawn_while_the_store_lists_it(swarm: Any) -> None:
    """The store's answer, which is of the time when it was asked, brings no key back."""
    swarm.grow(20)
    memory = Provided()
    memory.items = {KEY: (0.0, b"")}
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], stored=memory.answers())
    swarm.run(5)
    asked: list[Any] = []
    answer, swarm._store = swarm._store, lambda peer, message: asked.append(message) if peer is me else None
    while not asked:
        swarm.run(1)
    swarm._store = answer
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    answer(me, asked[0])
    swarm.run(60)
    assert isinstance(asked[0], ListProvided)
    assert memory.items == {}
    assert not any(KEY in peer.providers for peer in swarm.peers.values())


def test_a_withdrawal_that_the_store_has_not_come_to_yet_is_not_undone(swarm: Any) -> None:
    """The store lists at once, while a change that it was asked for before may wait behind others: what it lists of
    such keys brings none back."""
    swarm.grow(20)
    memory = Provided()
    memory.items = {KEY: (0.0, b"")}
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], stored=memory.answers())
    swarm.run(5)
    waiting: list[Any] = []
    answer = swarm._store

    def late(peer: Any, message: Any) -> None:
        if isinstance(message, DropProvided):
            waiting.append(message)
            return
        answer(peer, message)
        if peer is me and isinstance(message, ListProvided) and waiting:
            answer(me, waiting.pop())

    swarm._store = late
    swarm.tell(me, Withdraw(API, 2, swarm.now + 60, [KEY]))
    swarm.run(60)
    assert me.reply(2) == Done(2, None)
    assert memory.items == {}
    assert not any(KEY in peer.providers for peer in swarm.peers.values())


def test_a_key_may_be_withdrawn_while_its_holders_are_counted(swarm: Any) -> None:
    """A check that finds a key lost does not publish it when it has been withdrawn meanwhile."""
    swarm.grow(20)
    memory, key = Provided(), b"\xff" * 32
    boot = next(iter(swarm.peers.values())).record
    me = swarm.add([boot], RoutingSettings(check_every=100.0), stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [key], me.record.encoded), 90)
    for peer in swarm.peers.values():
        peer.providers.clear()
    while not any(call.kind == Kind.GET_PROVIDERS for call in me.calls):
        swarm.run(0.01)
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [key]))
    swarm.run(60)
    assert memory.items == {}
    assert not any(key in peer.providers for peer in swarm.peers.values())


@pytest.mark.parametrize("is_taken", [True, False])
def test_a_record_of_another_node_is_not_taken_for_lost(swarm: Any, is_taken: bool) -> None:
    """Neither where it is held, nor where all nodes refuse records of others than their senders."""
    swarm.grow(20)
    memory, other = Provided(), swarm.signer.record().encoded
    boot = next(iter(swarm.peers.values())).record
    settings = RoutingSettings(check_every=100.0, check_sample=32)
    me = swarm.add([boot], settings, stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [b"\xff" * 32], other), 80)
    for peer in swarm.peers.values():
        peer.providers = peer.providers if is_taken else {}
    swarm.run(150)
    assert any(call.kind == Kind.GET_PROVIDERS for call in me.calls)
    assert me.counters["keys_found_missing"] == 0
    assert is_taken or me.machine._published.period == settings.republish_every


def test_keys_that_wait_to_be_published_hide_no_churn(swarm: Any) -> None:
    """A check that comes while many keys are being published for the first time judges by the others."""
    swarm.grow(20)
    memory = Provided()
    settings = RoutingSettings(check_every=100.0, publish_rate=1.0)
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
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


def test_keys_whose_turn_came_while_the_node_was_down_are_published(swarm: Any) -> None:
    """After a restart a key is published that would be older than one and a half periods when the walk comes to it
    next. All others wait for their turn, which spreads them."""
    swarm.grow(20)
    memory, hour = Provided(), 3600.0

    def key_of(past: float) -> bytes:
        """Return a key to which the walk came so many hours ago."""
        turns = (UNIX / hour - past) / 12
        return int((turns % 1) * 2**256).to_bytes(32, "big")

    waiting = {key_of(hours): UNIX - hours * hour for hours in range(1, 12)}
    waiting |= {key_of(0.2): UNIX - 5.6 * hour, key_of(6.2): UNIX - 11.8 * hour}
    missed = {key_of(0.3): UNIX - 11 * hour, key_of(0.4): UNIX - 6.7 * hour, key_of(6.3): UNIX - 12.4 * hour}
    memory.items = {key: (unix, b"") for key, unix in (waiting | missed).items()}
    boot = next(iter(swarm.peers.values())).record
    swarm.add([boot], stored=memory.answers())
    swarm.run(90)
    assert {key for peer in swarm.peers.values() for key in peer.providers} == set(missed)


def test_the_period_leaves_time_before_others_forget() -> None:
    """One and a half periods are shorter than the 24 h for which records live; else the setting is refused."""
    assert msgspec.convert({"republish_every": 15 * 3600.0}, RoutingSettings).republish_every == 54000
    with pytest.raises(msgspec.ValidationError, match="republish_every"):
        msgspec.convert({"republish_every": 16 * 3600.0}, RoutingSettings)


def test_a_withdrawal_that_is_not_on_disk_is_not_said_to_be(swarm: Any) -> None:
    """The key would be published again: its user is told why."""
    me = swarm.add(stored={"DropProvided": Failed(0, "storage_full", "no room")})
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    swarm.run(1)
    assert me.reply(2) == Failed(2, "storage_full", "no room")
