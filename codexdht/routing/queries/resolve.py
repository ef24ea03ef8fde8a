"""Finding the newest record of one node."""

from __future__ import annotations

from codexdht.messages.discv5 import Kind
from codexdht.routing.queries.candidate import Candidate
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.query import Ask


class Resolve(Lookup):
    """A lookup that asks the node itself for its record once anyone knows where it is, and ends when it answers."""

    __slots__ = ()

    def on_answer(self, ask: Ask, now: float) -> None:
        """End when it was the node itself that answered."""
        super().on_answer(ask, now)
        if ask.record.node_id == self.target:
            self.done = True

    def _ask(self, candidate: Candidate, point: int | None, now: float) -> Ask:
        ask = super()._ask(candidate, point, now)
        return ask if candidate.distance else Ask(ask.record, Kind.FIND_NODE, b"")
