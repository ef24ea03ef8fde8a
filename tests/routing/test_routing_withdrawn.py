"""What a user withdraws while it is on its way, listed or counted."""

from __future__ import annotations

from typing import Any

from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    Done,
    DropProvided,
    Failed,
    ListProvided,
    LocalRecords,
    Publish,
    Withdraw,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
UNIX = 1_700_000_000.0
KEY = b"\x42" * 32
FAST = {"republish_every": 600.0, "republish_min": 60.0, "check_every": 100.0, "save_every": 1e9}


def test_withdrawn_keys_stay_withdrawn(swarm: Any, memory: Any) -> None:
    """Also when their publication is still under way."""
    swarm.grow(20)
    me = swarm.join(RoutingSettings(**FAST), stored=memory.answers())
    swarm.run(5)
    swarm.tell(me, Publish(API, 1, swarm.now + 5, [KEY], me.record.encoded))
    swarm.run(0.1)
    assert KEY in memory.items
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    swarm.run(20)
    assert me.reply(2) == Done(2, None)
    assert memory.items == {}


def test_a_key_may_be_withdrawn_while_its_publication_waits_for_our_record(swarm: Any, memory: Any) -> None:
    """It is neither published nor remembered when the wire has told the record; the others of the request are."""
    swarm.grow(20)
    other = b"\x07" * 32
    me = swarm.join(stored=memory.answers())
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


def test_keys_that_wait_their_turn_in_a_sweep_may_be_withdrawn_or_published(swarm: Any, memory: Any) -> None:
    """A key that is withdrawn while those of other records are published is neither published nor remembered; one that
    its user publishes with another record meanwhile stays with that."""
    swarm.grow(20)
    own = [swarm.signer.record().encoded for _ in range(9)]
    memory.items = {bytes([i]) * 32: (0.0, own[i]) for i in range(8)}
    me = swarm.join(stored=memory.answers())
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


def test_a_key_may_be_withdrawn_while_the_store_lists_it(swarm: Any, memory: Any) -> None:
    """The store's answer, which is of the time when it was asked, brings no key back."""
    swarm.grow(20)
    memory.items = {KEY: (0.0, b"")}
    me = swarm.join(stored=memory.answers())
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


def test_a_withdrawal_that_the_store_has_not_come_to_yet_is_not_undone(swarm: Any, memory: Any) -> None:
    """The store lists at once, while a change that it was asked for before may wait behind others: what it lists of
    such keys brings none back."""
    swarm.grow(20)
    memory.items = {KEY: (0.0, b"")}
    me = swarm.join(stored=memory.answers())
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


def test_a_key_may_be_withdrawn_while_its_holders_are_counted(swarm: Any, memory: Any) -> None:
    """A check that finds a key lost does not publish it when it has been withdrawn meanwhile."""
    swarm.grow(20)
    key = b"\xff" * 32
    me = swarm.join(RoutingSettings(check_every=100.0), stored=memory.answers())
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


def test_a_withdrawal_that_is_not_on_disk_is_not_said_to_be(swarm: Any) -> None:
    """The key would be published again: its user is told why."""
    me = swarm.add(stored={"DropProvided": Failed(0, "storage_full", "no room")})
    swarm.tell(me, Withdraw(API, 2, swarm.now + 5, [KEY]))
    swarm.run(1)
    assert me.reply(2) == Failed(2, "storage_full", "no room")
