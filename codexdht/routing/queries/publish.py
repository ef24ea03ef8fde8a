"""Sending provider records to the nodes closest to their keys, one key or very many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.query import FARTHEST, Ask

_BURST = 8
_AHEAD = 1024
_BREADTH = 2
_BROADEST = 4

OnPublished = Callable[[bytes, int, float], None]
"""Key, number of nodes it was sent to, or 0 where one was left out by a fault of ours, now."""


class Publish:
    """Publishes sorted keys neighbourhood by neighbourhood.

    A lookup for the first key left finds the k closest nodes, or twice as many where the next key is within `reach`
    of it (the distance at which neighbours share nodes), or up to four times when that served nobody else. Those
    nodes are all live ones within some radius of the lookup's target, so every following key whose own k closest lie
    within that radius is served without a lookup. A record leaves as soon as its place is certain: for the key of the
    lookup while it still runs.

    The lookup is left alone until it has heard something, or the time comes at which it wants to be looked at
    (`_look_at`): nearly all calls of `next` come from records that have left.

    A node whose answer is outstanding when the lookup ends gets the record when its request has ended: until then
    what is sent to it may wait for a handshake that will never come. `_undecided` are such nodes, `_later` is what
    waits for them, `_free` what does so no more.

    `_next` is the first key without a lookup or neighbourhood; `_ready` are keys with the nodes to send to; many keys
    leave at `rate` a second, because each node near them gets as many packets. `_left` counts what is outstanding by
    key: sends in flight or waiting, and one for a key that is looked up or waits in `_ready`; a key that leaves it is
    published. `_dead` are nodes that take nothing more, `unsent` keys that a node did not get by a fault of ours.
    """

    __slots__ = (
        "_breadth",
        "_dead",
        "_early",
        "_free",
        "_keys",
        "_later",
        "_left",
        "_look_at",
        "_lookup",
        "_make_lookup",
        "_may_live",
        "_next",
        "_rate",
        "_reach",
        "_ready",
        "_tokens",
        "_tokens_at",
        "_undecided",
        "_width",
        "done",
        "on_published",
        "record",
        "sent",
        "target",
        "unsent",
    )

    def __init__(
        self,
        keys: list[bytes],
        record: bytes,
        make_lookup: Callable[[bytes, int, float], Lookup],
        *,
        may_live: Callable[[bytes], bool],
        width: int,
        reach: int,
        rate: float,
    ) -> None:
        self._keys = sorted(set(keys))
        self.target = self._keys[0] if self._keys else b""
        self.done = not self._keys
        self.sent: dict[bytes, int] = {}
        self.on_published: OnPublished | None = None
        self.record = record
        self._make_lookup = make_lookup
        self._may_live = may_live
        self._width = width
        self._reach = reach
        self._rate = rate
        self._next = 0
        self._breadth = _BREADTH
        self._lookup: Lookup | None = None
        self._look_at: float | None = None
        self._early: set[bytes] = set()
        self._ready: deque[tuple[bytes, list[SignedPeerRecord]]] = deque()
        self._left: dict[bytes, int] = {}
        self._dead: set[bytes] = set()
        self.unsent: set[bytes] = set()
        self._undecided: set[bytes] = set()
        self._later: dict[bytes, list[Ask]] = {}
        self._free: list[Ask] = []
        self._tokens = float(_BURST)
        self._tokens_at: float | None = None

    @property
    def settled(self) -> bool:
        """Whether every key is with those of its k closest nodes that have answered. Others may get it later."""
        if self._lookup is not None or self._ready or self._next < len(self._keys):
            return False
        return sum(self._left.values()) == sum(map(len, self._later.values()))

    def next(self, now: float) -> list[Ask]:
        """Return what to send now."""
        if self.done:
            return []
        asks, self._free = self._free, []
        asks += self._search(now)
        asks += self._take_ready(now)
        self.done = not asks and not self._left and self._next == len(self._keys)
        return asks

    def wake(self, now: float) -> float | None:
        """Return when a lookup goes on by itself or the next key may leave."""
        times = [now + max(1 - self._tokens, 0.0) / self._rate] if self._ready else []
        if self._may_look_up():
            times.append(now)
        if self._look_at is not None:
            times.append(max(self._look_at, now))
        return min(times, default=None)

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], now: float) -> None:
        """Take the nodes that a node told us of."""
        if self._lookup is not None and ask.key == self._lookup.target:
            self._lookup.on_records(ask, records, now)
            self._look_at = now

    def on_answer(self, ask: Ask, now: float) -> None:
        """A record has left, or a node has answered."""
        if ask.kind == Kind.ADD_PROVIDER:
            self.sent[ask.key] = self.sent.get(ask.key, 0) + 1
            self._settle_one(ask.key, now)
            return
        self._decide(ask.record.node_id, True, now)
        if self._lookup is not None and ask.key == self._lookup.target:
            self._lookup.on_answer(ask, now)
            self._look_at = now

    def on_timeout(self, ask: Ask, now: float) -> None:
        """A record could not be sent, or a node has not answered."""
        if ask.kind == Kind.ADD_PROVIDER:
            self._dead.add(ask.record.node_id)
            self._settle_one(ask.key, now)
            return
        self._decide(ask.record.node_id, self._may_live(ask.record.node_id), now)
        if self._lookup is not None and ask.key == self._lookup.target:
            self._lookup.on_timeout(ask, now)
            self._look_at = now

    def on_unsent(self, ask: Ask, now: float) -> None:
        """A record could not be sent, which says nothing of the node: its key has to be published once more."""
        self.unsent.add(ask.key)
        self._settle_one(ask.key, now)

    def on_deadline(self, now: float) -> None:
        """Go on: the user has been told that it is not complete."""

    # Finding nodes ------------------------------------------------------------------------------------------------

    def _search(self, now: float) -> list[Ask]:
        lookup = self._lookup
        if lookup is None:
            if not self._may_look_up():
                return []
            lookup = self._begin_lookup(now)
        if self._look_at is None or now < self._look_at:
            return []
        asks = lookup.next(now) + self._certain(lookup, now)
        self._look_at = lookup.wake(now)
        if lookup.done:
            self._spread(lookup)
            self._lookup = None
        return asks

    def _begin_lookup(self, now: float) -> Lookup:
        key = self._keys[self._next]
        self._next += 1
        self._left[key] = 1
        self._early = set()
        self._lookup = self._make_lookup(key, self._lookup_width(key), now)
        self._look_at = now
        return self._lookup

    def _may_look_up(self) -> bool:
        return self._lookup is None and self._next < len(self._keys) and len(self._ready) <= _AHEAD

    def _lookup_width(self, key: bytes) -> int:
        if self._next == len(self._keys):
            return self._width
        gap = int.from_bytes(self._keys[self._next], "big") ^ int.from_bytes(key, "big")
        return self._breadth * self._width if gap < self._reach else self._width

    def _certain(self, lookup: Lookup, now: float) -> list[Ask]:
        """Return the sends to nodes that are certain to be among the k closest to the lookup's key."""
        near = {record.node_id for record in lookup.window(self._width)}
        return self._sends(lookup.target, [r for r in lookup.certain(now) if r.node_id in near])

    def _sends(self, key: bytes, records: list[SignedPeerRecord]) -> list[Ask]:
        fresh = [record for record in records if record.node_id not in self._early]
        self._early.update(record.node_id for record in fresh)
        return self._send(key, fresh)

    def _send(self, key: bytes, nodes: list[SignedPeerRecord]) -> list[Ask]:
        self._left[key] += len(nodes)
        return [Ask(node, Kind.ADD_PROVIDER, key, stored=self.record) for node in nodes]

    def _spread(self, lookup: Lookup) -> None:
        """Queue the key of a lookup that has ended, and the following ones that its result serves."""
        key = lookup.target
        self._undecided |= lookup.undecided()
        known, radius = lookup.closest(), lookup.radius()
        silent = [record for record in lookup.silent() if self._may_live(record.node_id)]
        self._ready.append((key, self._receivers(key, known, silent, self._early)))
        first = self._next
        while self._next < len(self._keys):
            following = self._keys[self._next]
            if not _is_within(following, key, known, self._width, radius):
                break
            self._ready.append((following, self._receivers(following, known, silent, set())))
            self._left[following] = 1
            self._next += 1
        self._breadth = _BREADTH if self._next > first else min(self._breadth + 1, _BROADEST)

    def _receivers(
        self, key: bytes, known: list[SignedPeerRecord], silent: list[SignedPeerRecord], sent: set[bytes]
    ) -> list[SignedPeerRecord]:
        """Return the k nodes closest to key that have answered and, among them or in place of missing ones, those that
        may have been unlucky; without the nodes that the record was sent to. If nobody answered, we are cut off."""
        distance = _distance_to(key)
        closest = sorted(known, key=distance)[: self._width]
        if closest:
            farthest, missing = distance(closest[-1]), self._width - len(closest)
            unlucky = enumerate(sorted(silent, key=distance))
            closest += [record for i, record in unlucky if i < missing or distance(record) < farthest]
        return [record for record in closest if record.node_id not in sent]

    # Sending ------------------------------------------------------------------------------------------------------

    def _take_ready(self, now: float) -> list[Ask]:
        if self._tokens_at is not None:
            self._tokens = min(_BURST, self._tokens + (now - self._tokens_at) * self._rate)
        self._tokens_at = now
        asks: list[Ask] = []
        while self._ready and self._tokens >= 1:
            self._tokens -= 1
            key, nodes = self._ready.popleft()
            asks += self._send_or_wait(key, [node for node in nodes if node.node_id not in self._dead])
            self._settle_one(key, now)
        return asks

    def _send_or_wait(self, key: bytes, nodes: list[SignedPeerRecord]) -> list[Ask]:
        asks = self._send(key, nodes)
        for ask in asks:
            if ask.record.node_id in self._undecided:
                self._later.setdefault(ask.record.node_id, []).append(ask)
        return [ask for ask in asks if ask.record.node_id not in self._undecided]

    def _decide(self, node_id: bytes, may_live: bool, now: float) -> None:
        """A node's request has ended: send what has waited for that, if there is somebody to take it."""
        self._undecided.discard(node_id)
        waiting = self._later.pop(node_id, [])
        if may_live:
            self._free += waiting
            return
        for ask in waiting:
            self._settle_one(ask.key, now)

    def _settle_one(self, key: bytes, now: float) -> None:
        self._left[key] -= 1
        if self._left[key]:
            return
        del self._left[key]
        if self.on_published is not None:
            self.on_published(key, 0 if key in self.unsent else self.sent.get(key, 0), now)


def _distance_to(key: bytes) -> Callable[[SignedPeerRecord], int]:
    number = int.from_bytes(key, "big")
    return lambda record: record.number ^ number


def _is_within(key: bytes, center: bytes, known: list[SignedPeerRecord], width: int, radius: int) -> bool:
    """Tell whether the `width` nodes closest to key are sure to be among those known, which are all that live within
    radius of center.

    A node at distance d from key is at (center XOR key) XOR d from center, which is below 2^max(bit lengths of both).
    """
    if radius >= FARTHEST:
        return True
    distances = sorted(map(_distance_to(key), known))[:width]
    if len(distances) < width:
        return False
    shift = int.from_bytes(key, "big") ^ int.from_bytes(center, "big")
    reach = max(distances[-1].bit_length(), shift.bit_length())
    return 1 << reach <= radius
