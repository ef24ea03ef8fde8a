"""What a node provides is remembered and published again."""

from __future__ import annotations

from typing import Any

from codexdht.messages.internal import (
    Actor,
    Done,
    DropProvided,
    Publish,
    PutProvided,
    Stats,
    Withdraw,
)
from codexdht.routing.settings import RoutingSettings

API = Actor.API
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


def test_lost_holders_are_noticed_and_shorten_the_period(swarm: Any) -> None:
    """When a check finds that hardly anybody still has a key, it is published at once, and all more often from then."""
    swarm.grow(20)
    memory = Provided()
    settings = RoutingSettings(republish_every=36000.0, republish_min=60.0, check_every=200.0)
    me = swarm.add([next(iter(swarm.peers.values())).record], settings, stored=memory.answers())
    swarm.run(5)
    swarm.ask(me, Publish(API, 1, swarm.now + 5, [b"\xff" * 32], me.record.encoded), 6)
    swarm.run(100)
    for peer in swarm.peers.values():
        peer.providers.clear()
    swarm.run(130)
    assert sum(b"\xff" * 32 in peer.providers for peer in swarm.peers.values()) >= 16
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
