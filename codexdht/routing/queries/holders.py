"""Counting which of the nodes near a key still hold our record of it."""

from __future__ import annotations

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.providers import FindProviders
from codexdht.routing.queries.query import Ask


class CountHolders(FindProviders):
    """A search for providers that does not stop early and counts who answers with our own record."""

    __slots__ = ("_holders",)

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self._holders: set[bytes] = set()

    def share(self) -> float | None:
        """Return which share of the k closest live nodes holds our record; None when nobody answered."""
        closest = self.lookup.closest()
        if not closest:
            return None
        return sum(record.node_id in self._holders for record in closest) / len(closest)

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], now: float) -> None:
        """Count an answer that holds our record; take nodes."""
        if ask.kind != Kind.GET_PROVIDERS:
            super().on_records(ask, records, now)
        elif any(record.node_id == self._own_id for record in records):
            self._holders.add(ask.record.node_id)

    def _is_enough(self, now: float) -> bool:
        return self.lookup.done and not any(time > now for time in self._open.values())
