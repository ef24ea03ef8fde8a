"""Counting which of the nodes near a key still hold the record of one of its providers."""

from __future__ import annotations

from typing import Final

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.providers import FindProviders
from codexdht.routing.queries.query import Ask

_FULL: Final = 5
"""Packets of an answer that may have no room for further providers."""


class CountHolders(FindProviders):
    """A search for providers that does not stop early and counts who answers with the record of one of them, whose id
    it is given as our own.

    `_holders` have answered with it. `_others` have not, in a whole answer that had room for it: what is missing in one
    that is full, or in which a packet was lost, tells nothing. `_heard` are packets of a node's answer, and when the
    last of them came.
    """

    __slots__ = ("_heard", "_holders", "_others")

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._holders: set[bytes] = set()
        self._others: set[bytes] = set()
        self._heard: dict[bytes, tuple[int, float]] = {}

    def share(self) -> float | None:
        """Return which share of the k closest live nodes holds it, of those that told; None when nobody did."""
        ids = {record.node_id for record in self.lookup.closest()}
        holders, others = len(ids & self._holders), len(ids & self._others - self._holders)
        return holders / (holders + others) if holders or others else None

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], now: float) -> None:
        """Count an answer that holds the record; take nodes."""
        if ask.kind != Kind.GET_PROVIDERS:
            super().on_records(ask, records, now)
            return
        node_id = ask.record.node_id
        packets, _ = self._heard.get(node_id, (0, now))
        self._heard[node_id] = packets + 1, now
        if any(record.node_id == self._own_id for record in records):
            self._holders.add(node_id)

    def on_answer(self, ask: Ask, now: float) -> None:
        """A node has answered. An answer ends with its last packet, or later where one is missing."""
        if ask.kind == Kind.GET_PROVIDERS:
            packets, last = self._heard.get(ask.record.node_id, (0, now))
            if packets < _FULL and last == now:
                self._others.add(ask.record.node_id)
        super().on_answer(ask, now)

    def _is_enough(self, now: float) -> bool:
        return self.lookup.done and not any(time > now for time in self._open.values())
