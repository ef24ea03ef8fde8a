"""Finding the providers of a key."""

from __future__ import annotations

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.query import Appraise, Ask

_OPEN_WIDTHS = 2


class FindProviders:
    """A lookup, and beside it GET_PROVIDERS to each node near the key as soon as the lookup has it. A node that
    does not answer that need not be asked for nodes either.

    `_asked` holds the ids of the nodes asked for providers, `_open` those of them that have not answered, with the time
    until which they are waited for. The α closest known nodes are asked at once, the others among the k closest
    when a first node has told what is near the key. The query ends when `limit` distinct providers are found; when at
    least one is found and half of the k closest nodes, none of them unasked, have answered; or when the lookup has
    ended and nobody is left to wait for, nor the local store while `awaits_store` is set. That nothing is found is
    said only when three quarters of the k closest have said so, or all that were asked have answered or failed.
    """

    __slots__ = (
        "_answered",
        "_appraise",
        "_asked",
        "_found",
        "_limit",
        "_open",
        "_own_id",
        "_told",
        "awaits_store",
        "done",
        "lookup",
        "target",
        "width",
    )

    def __init__(self, lookup: Lookup, limit: int, own_id: bytes, appraise: Appraise) -> None:
        self.target = lookup.target
        self.lookup = lookup
        self.width = lookup.shape.width
        self.done = False
        self.awaits_store = False
        self._limit = limit
        self._own_id = own_id
        self._appraise = appraise
        self._asked: set[bytes] = set()
        self._open: dict[bytes, float] = {}
        self._answered = 0
        self._told = False
        self._found: dict[bytes, SignedPeerRecord] = {}

    @property
    def settled(self) -> bool:
        """See Query."""
        return self.done

    @property
    def providers(self) -> list[SignedPeerRecord]:
        """What was found: one record per peer, the one with the highest seq, in the order of first sight."""
        return list(self._found.values())[: self._limit]

    def add_providers(self, records: list[SignedPeerRecord]) -> None:
        """Take provider records; our own is left out."""
        for record in records:
            known = self._found.get(record.node_id)
            if record.node_id != self._own_id and (known is None or record.seq > known.seq):
                self._found[record.node_id] = record
        if len(self._found) >= self._limit:
            self.done = True

    def next(self, now: float) -> list[Ask]:
        """Return what to send now."""
        if self.done:
            return []
        for node_id, until in self._open.items():
            if until <= now:
                self.lookup.doubt(node_id)
        asks = self.lookup.next(now)
        asks += self._next_gets(now)
        if not asks and self._is_enough(now):
            self.done = True
        return asks

    def wake(self, now: float) -> float | None:
        """Return when somebody is no longer waited for."""
        if self.done:
            return None
        times = [time for time in self._open.values() if time > now]
        lookup = self.lookup.wake(now)
        if lookup is not None:
            times.append(lookup)
        return min(times, default=None)

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], now: float) -> None:
        """Take nodes or providers, as they were asked for."""
        if ask.kind == Kind.GET_PROVIDERS:
            self.add_providers(records)
            return
        self._told = self._told or bool(records)
        self.lookup.on_records(ask, records, now)

    def on_answer(self, ask: Ask, now: float) -> None:
        """A node has answered."""
        if ask.kind == Kind.GET_PROVIDERS:
            self._open.pop(ask.record.node_id, None)
            self._answered += 1
            return
        self._told = True
        self.lookup.on_answer(ask, now)

    def on_timeout(self, ask: Ask, now: float) -> None:
        """A node has not answered."""
        if ask.kind == Kind.GET_PROVIDERS:
            self._open.pop(ask.record.node_id, None)
            self.lookup.doubt(ask.record.node_id)
        else:
            self.lookup.on_timeout(ask, now)

    def on_deadline(self, now: float) -> None:
        """Go on: what is found later still teaches the routing table."""

    def _next_gets(self, now: float) -> list[Ask]:
        holding = sum(time > now for time in self._open.values())
        room = min(self.width - holding, _OPEN_WIDTHS * self.width - len(self._open))
        near = self.lookup.window(self.width if self._told else self.lookup.shape.alpha, now)
        asks = [Ask(r, Kind.GET_PROVIDERS, self.target) for r in near if r.node_id not in self._asked]
        asks = asks[: max(room, 0)]
        for ask in asks:
            node_id = ask.record.node_id
            self._asked.add(node_id)
            self._open[node_id] = now + 2 * self._appraise(node_id, now)[0]
        return asks

    def _is_enough(self, now: float) -> bool:
        waiting = any(time > now for time in self._open.values())
        if self.lookup.done and not waiting and not self.awaits_store:
            near = self.lookup.window(self.width)
            return bool(self._found) or not self._open or 4 * self._answered >= 3 * len(near)
        near = self.lookup.window(self.width, now)
        asked = all(record.node_id in self._asked for record in near)
        return bool(self._found) and self._told and asked and 2 * self._answered >= len(near)
