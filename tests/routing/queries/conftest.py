"""A static network of nodes that are dead, slow or alive, in which queries are driven as pure state machines."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import pytest

from codexdht.entropy import Entropy
from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.query import Ask, Query, Shape

OWN = b"\xaa" * 32
ALPHA, LIMIT, EXPECTED = 3, 8, 0.1
ADDRESS = multiaddress_of_endpoint(("5.5.5.5", 9000))


def record_of(node_id: bytes, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord(node_id + bytes([seq]), node_id[:33], node_id, seq, (ADDRESS,))


@lru_cache(4096)
def number(node_id: bytes) -> int:
    return int.from_bytes(node_id, "big")


def appraise(node_id: bytes, now: float) -> tuple[float, bool]:
    return EXPECTED, False


class Run(NamedTuple):
    """What a driven query did: every ask, when it was over, and the most that was ever in flight."""

    asks: list[Ask]
    ended: float
    most: int


class World:
    """Nodes that never change: each knows the `known` nearest to itself and some others. `delay` says how long one
    takes to answer, None for one that is dead. `held` are provider records by node."""

    def __init__(self, entropy: Entropy, size: int, dead: float = 0.0, known: int = 24) -> None:
        self.entropy = entropy
        self.ids = [entropy.randbytes(32) for _ in range(size)]
        self.dead = {i for i in self.ids if entropy.random() < dead}
        self.delay: Callable[[bytes], float | None] = lambda i: (
            None if i in self.dead else 0.02 + 0.06 * entropy.random()
        )
        self.knows = {}
        for node_id in self.ids:
            nearest = sorted(self.ids, key=lambda i: number(i) ^ number(node_id))[1 : known + 1]
            others = entropy.sample(self.ids, min(size, 40))
            self.knows[node_id] = [i for i in {*nearest, *others} if i != node_id]
            self.knows[node_id].sort()
        self.held: dict[bytes, list[SignedPeerRecord]] = {}

    def start(self, target: bytes, count: int = 6) -> list[SignedPeerRecord]:
        return [record_of(i) for i in self.entropy.sample(self.ids, min(count, len(self.ids)))]

    def closest(self, target: bytes, count: int = 16) -> list[bytes]:
        alive = [i for i in self.ids if i not in self.dead]
        return sorted(alive, key=lambda i: number(i) ^ number(target))[:count]

    def scale(self) -> int:
        """Return how far the 16th nearest node is from ourselves; any distance where there are too few."""
        distances = sorted(number(i) ^ number(OWN) for i in self.ids)
        return distances[15] if len(distances) >= 16 else 1 << 256

    def answer(self, ask: Ask) -> list[SignedPeerRecord]:
        node_id = ask.record.node_id
        if ask.kind == Kind.FIND_NODE_FAST:
            alive = [i for i in self.knows[node_id] if i not in self.dead or number(i) % 4 == 0]
            return [record_of(i) for i in sorted(alive, key=lambda i: number(i) ^ number(ask.about))[:6]]
        if ask.kind == Kind.GET_PROVIDERS:
            return self.held.get(node_id, [])
        return [record_of(node_id, 9)] if ask.kind == Kind.FIND_NODE else []

    def drive(self, query: Query) -> Run:
        """Run a query to its end; fail if it does not come to one."""
        now, asks, most = 0.0, [], 0
        flying: list[tuple[float, int, Ask, bool]] = []
        for _ in range(100_000):
            for ask in query.next(now):
                delay = 0.0 if ask.kind == Kind.ADD_PROVIDER else self.delay(ask.record.node_id)
                flying.append((now + (1.0 if delay is None else delay), len(asks), ask, delay is not None))
                asks.append(ask)
            most = max(most, len([f for f in flying if f[2].kind != Kind.ADD_PROVIDER]))
            if query.done:
                return Run(asks, now, most)
            flying.sort(key=lambda f: f[:2])
            wake = query.wake(now)
            if flying and (wake is None or flying[0][0] <= wake):
                now, _, ask, answers = flying.pop(0)
                if answers:
                    query.on_records(ask, self.answer(ask), now)
                    query.on_answer(ask, now)
                else:
                    query.on_timeout(ask, now)
            else:
                assert wake is not None, "nothing in flight, nothing to wait for, and not done"
                now = max(wake, now + 1e-4)
        raise AssertionError("the query does not end")

    def lookup(self, target: bytes, width: int = 16, kind: type[Lookup] = Lookup) -> Lookup:
        query = kind(target, OWN, Shape(width, ALPHA, LIMIT, scale=self.scale()), appraise)
        query.add(self.start(target))
        return query


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """Makes static networks."""
    return World
