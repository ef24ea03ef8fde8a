"""The nodes that a lookup knows of around its target, and what they have told of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.candidate import Candidate, State
from codexdht.routing.queries.coverage import EVERYWHERE, Span, first_gap, home_bits, is_credible, subtree
from codexdht.routing.queries.query import FARTHEST

_KEPT: Final = 4


class Surroundings:
    """Candidates by distance and by id.

    Invariant: `_candidates` is sorted by distance, holds every node of `_by_id` once, and at most `_KEPT` times the
    width, except for nodes that were asked; `distances` are theirs, in the same order; `cut` is the distance of the
    nearest node that was left out for that. `home` is the size, in bits, of the largest subtree that a node is
    believed to know all of, however few others are known in it.
    """

    __slots__ = ("_by_id", "_candidates", "_target", "_width", "cut", "distances", "home")

    def __init__(self, target: int, width: int, scale: int = FARTHEST) -> None:
        self.home = scale.bit_length()
        self.cut = FARTHEST
        self.distances: list[int] = []
        self._target = target
        self._width = width
        self._candidates: list[Candidate] = []
        self._by_id: dict[bytes, Candidate] = {}

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self._candidates)

    def get(self, node_id: bytes) -> Candidate | None:
        """Return the candidate with an id."""
        return self._by_id.get(node_id)

    def add(self, record: SignedPeerRecord) -> None:
        """Take note of a node; of one that is known, keep the newer record."""
        known = self._by_id.get(record.node_id)
        if known is None:
            self._insert(Candidate(record, record.number ^ self._target))
        elif record.seq > known.record.seq:
            known.record = record

    def _insert(self, candidate: Candidate) -> None:
        if len(self._candidates) >= _KEPT * self._width and not self._make_room(candidate.distance):
            return
        at = bisect_left(self.distances, candidate.distance)
        self.distances.insert(at, candidate.distance)
        self._candidates.insert(at, candidate)
        self._by_id[candidate.record.node_id] = candidate

    def _make_room(self, distance: int) -> bool:
        """Drop the farthest node that was not asked, for a new one at this distance; tell whether that may stay."""
        at = len(self._candidates) - 1
        while at >= 0 and self._candidates[at].state is not State.NEW:
            at -= 1
        farthest = self.distances[at] if at >= 0 else distance
        self.cut = min(self.cut, max(farthest, distance))
        if farthest <= distance:
            return False
        del self._by_id[self._candidates[at].record.node_id], self._candidates[at], self.distances[at]
        return True

    def trust_all(self) -> None:
        """Believe whoever knows no more than k nodes in a larger subtree: enough of the nodes there are is known."""
        self.home = FARTHEST.bit_length()

    # What is known ------------------------------------------------------------------------------------------------

    def answered(self) -> list[Candidate]:
        """Return the closest that have answered, nearest first."""
        return [c for c in self._candidates if c.is_alive][: self._width]

    def last(self) -> int:
        """Return the distance of the last of the closest that have answered; if there are too few, any."""
        answered = self.answered()
        return answered[-1].distance if len(answered) == self._width else FARTHEST

    def reach(self) -> int:
        """Return the distance of the last of the closest nodes that have not failed; any, while there are too few."""
        left = self._width
        for candidate in self._candidates:
            if candidate.state is not State.FAILED:
                left -= 1
                if not left:
                    return candidate.distance
        return FARTHEST - 1

    def claims(self, radius: int) -> list[Span]:
        """Return the credible claims of the nodes near the target."""
        near = [c for c in self._candidates if c.distance <= radius]
        return [claimed for c in near for claimed in c.claims if self._is_believed(claimed, c)]

    def _is_believed(self, claimed: Span, claimant: Candidate) -> bool:
        """Tell whether a claim is credible, and, if it is that there is nobody else at all, not refuted by a live node
        that the claimant has not named."""
        if not is_credible(claimed, claimant.distance, self.distances, self.home):
            return False
        if claimed != EVERYWHERE:
            return True
        return all(c is claimant or c.distance in claimant.names for c in self._candidates if c.is_alive)

    def gap(self, radius: int, level: int = 1) -> int | None:
        """Return the nearest distance below a radius of which fewer than `level` nodes have told."""
        return first_gap(self.claims(radius), (0, radius), level)

    def informants(self, gap: int) -> list[Candidate]:
        """Return the nodes that would be believed about a gap, nearest to the target first."""
        first, last = subtree(gap, self.home_bits(gap))
        return self._candidates[bisect_left(self.distances, first) : bisect_left(self.distances, last)]

    def expected(self, asked: list[Candidate], bits: int) -> list[Span]:
        """Return what nodes will claim that are being asked."""
        spans = ((subtree(c.points[-1], bits), c.distance) for c in asked)
        return [span for span, distance in spans if is_credible(span, distance, self.distances, self.home)]

    def is_far(self, distance: int) -> bool:
        """Tell whether a node is too far away from the target to know what is there."""
        return distance.bit_length() > self.home

    def home_bits(self, distance: int) -> int:
        """Return the size, in bits, of the subtree around a node that it may be asked about."""
        return min(home_bits(distance, self.distances), self.home)
