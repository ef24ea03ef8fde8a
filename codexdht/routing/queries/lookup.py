"""The lookup: which live nodes are closest to a target (Kademlia, section 2.3; behaviour.md, "Calls and queries")."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from enum import IntEnum
from itertools import islice
from operator import attrgetter

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.coverage import (
    ANSWER_SIZE,
    Span,
    claim,
    first_gap,
    home_bits,
    is_credible,
    next_point,
)
from codexdht.routing.queries.query import Appraise, Ask, Shape

_KEPT = 4
_EXTRA_SHARE = 2
_ANSWER_BITS = 2
_PATIENCE = 2.0
_FARTHEST = 1 << 256
_by_distance = attrgetter("distance")


class State(IntEnum):
    """What a candidate has been asked, and has answered. One that is asked again has answered before."""

    NEW = 0
    ASKED = 1
    ANSWERED = 2
    FAILED = 3
    ASKED_AGAIN = 4


_ALIVE = (State.ANSWERED, State.ASKED_AGAIN)
_OPEN = (State.ASKED, State.ASKED_AGAIN)


class Candidate:
    """A node that may be among the closest. distance: XOR with the target; due: when its request no longer holds a
    place; given_up: when the lookup no longer waits for it to end (a late answer still counts). about: the distance
    it was last asked about; named: how many nodes it has named then; reach: how far the farthest of them is from that
    point; claims: what follows from its answers."""

    __slots__ = (
        "about",
        "claims",
        "distance",
        "due",
        "given_up",
        "named",
        "reach",
        "record",
        "silent",
        "state",
    )

    def __init__(self, record: SignedPeerRecord, distance: int) -> None:
        self.record = record
        self.distance = distance
        self.state = State.NEW
        self.silent = False
        self.due = 0.0
        self.given_up = 0.0
        self.about = 0
        self.named = 0
        self.reach = 0
        self.claims: list[Span] = []


def _is_gone(candidate: Candidate, now: float) -> bool:
    """Tell whether a node is not waited for any more, or need not be asked at all."""
    if candidate.state is State.NEW:
        return candidate.silent
    return candidate.state is State.FAILED or (candidate.state is State.ASKED and candidate.given_up <= now)


def _may_be_asked_again(candidate: Candidate, gap: int) -> bool:
    """Tell whether a node has answered, and told of something else than a gap."""
    claims = candidate.claims if candidate.state is State.ANSWERED else []
    return bool(claims) and not any(start <= gap < end for start, end in claims)


class Lookup:
    """Asks ever closer nodes until the `width` closest that are alive have answered.

    Invariant: `_candidates` is sorted by distance, holds every node of `_by_id` once, and at most `_KEPT` times the
    width, except for nodes that were asked; `_cut` is the distance of the nearest node that was left out for that.
    `_open` are those that are being asked. A node is asked once, and again only about a gap that nobody else can tell
    of.

    A node that does not answer within its expected time loses its place, so that the next one is asked at once; when
    twice that time has passed, the lookup may end without it. Each that was lost in this way makes room for one more
    (`_failed` counts those that are not open any more): where one node is gone, others are. And when the α closest have
    answered, so that the closest are known, all others among them are asked at once. Before anybody has answered, a
    lookup ends only when nobody can any more.
    """

    __slots__ = (
        "_appraise",
        "_by_id",
        "_candidates",
        "_cut",
        "_extra",
        "_failed",
        "_number",
        "_open",
        "_own_id",
        "asked",
        "done",
        "shape",
        "target",
    )

    def __init__(self, target: bytes, own_id: bytes, shape: Shape, appraise: Appraise) -> None:
        self.target = target
        self.done = False
        self.asked = 0
        self._cut = _FARTHEST
        self._extra = 0
        self._failed = 0
        self._number = int.from_bytes(target, "big")
        self._own_id = own_id
        self.shape = shape
        self._appraise = appraise
        self._candidates: list[Candidate] = []
        self._by_id: dict[bytes, Candidate] = {}
        self._open: list[Candidate] = []

    # Driving ------------------------------------------------------------------------------------------------------

    def add(self, records: Iterable[SignedPeerRecord]) -> None:
        """Take note of nodes; of one that is known, keep the newer record."""
        for record in records:
            known = self._by_id.get(record.node_id)
            if known is not None:
                if record.seq > known.record.seq:
                    known.record = record
            elif record.endpoint is not None and record.node_id != self._own_id:
                self._insert(record)

    def next(self, now: float) -> list[Ask]:
        """Return what to send now, and end the lookup when nothing can change its result any more."""
        if self.done:
            return []
        fresh, blocked = self._scan(now)
        if not fresh and not blocked:
            fresh = self._beyond()
        if not fresh and not blocked:
            self.done = not self._open or bool(self._answered())
            return []
        room = self._room(now)
        if room <= 0 or not fresh:
            return []
        if len(fresh) > room:
            fresh = self._most_useful(fresh, now)[:room]
        return [self._ask(candidate, now) for candidate in fresh]

    def wake(self, now: float) -> float | None:
        """Return when a request in flight loses its place, or is no longer waited for."""
        if self.done:
            return None
        times = [c.due if c.due > now else c.given_up for c in self._open]
        return min((time for time in times if time > now), default=None)

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], _now: float) -> None:
        """Take the nodes that a node told us of."""
        if self.done:
            return
        self.add(records)
        candidate = self._by_id.get(ask.record.node_id)
        if candidate is not None:
            point = self._number ^ candidate.about
            candidate.named += len(records)
            distances = [int.from_bytes(record.node_id, "big") ^ point for record in records]
            candidate.reach = max([candidate.reach, *distances])

    def on_answer(self, ask: Ask, _now: float) -> None:
        """A node has answered."""
        candidate = self._close(ask, State.ANSWERED)
        if candidate is not None and candidate.named <= ANSWER_SIZE:
            candidate.claims.append(claim(candidate.about, candidate.named, candidate.reach))

    def on_timeout(self, ask: Ask, _now: float) -> None:
        """A node has not answered."""
        self._failed += self._close(ask, State.FAILED) is not None

    def on_deadline(self, now: float) -> None:
        """Go on: what is found later still teaches the routing table."""

    def doubt(self, node_id: bytes) -> None:
        """A node has not answered something else that it was asked: it is not asked now, if it was not yet."""
        candidate = self._by_id.get(node_id)
        if candidate is not None:
            candidate.silent = True

    # Results ------------------------------------------------------------------------------------------------------

    def closest(self, count: int | None = None) -> list[SignedPeerRecord]:
        """Return the records of the closest nodes that have answered, nearest first; `width` of them by default."""
        return [c.record for c in self._answered()[:count]]

    def record_of(self, node_id: bytes) -> SignedPeerRecord | None:
        """Return the newest record seen of a node, alive or not."""
        known = self._by_id.get(node_id)
        return known.record if known is not None else None

    def window(self, count: int, now: float | None = None) -> list[SignedPeerRecord]:
        """Return the records of the closest nodes that have not failed and, at a time, are still waited for."""
        if now is None:
            alive = (c.record for c in self._candidates if c.state is not State.FAILED)
        else:
            alive = (c.record for c in self._candidates if not _is_gone(c, now))
        return [record for record, _ in zip(alive, range(count), strict=False)]

    def silent(self) -> list[SignedPeerRecord]:
        """Return the records of nodes that were asked, have not answered, and are no farther away than the last of the
        closest: dead, or alive and unlucky."""
        answered = self._answered()
        last = answered[-1].distance if len(answered) == self.shape.width else _FARTHEST
        return [
            c.record for c in self._candidates if c.state in (State.ASKED, State.FAILED) and c.distance < last
        ]

    def certain(self, now: float) -> list[SignedPeerRecord]:
        """Return the records of nodes that have answered and are among the closest, whatever else is found.

        The α closest nodes still waited for have all answered, and two nodes agree on all that is as near. Early in a
        lookup, with few nodes known, one claim may seem credible that is not.
        """
        alive = [c for c in self._candidates if not _is_gone(c, now)][: self.shape.alpha]
        if not all(c.state in _ALIVE for c in alive):
            return []
        answered = self._answered()
        reach = answered[-1].distance + 1 if answered else 0
        gap = first_gap(self._claims(reach), (0, reach), level=2)
        return [c.record for c in answered if gap is None or c.distance < gap]

    def radius(self) -> int:
        """Return a distance below which every live node is known and has answered.

        That is what credible claims cover without a gap, up to the last of the closest, if as many answered as were
        wanted, and up to the nearest node that was left out.
        """
        answered = self._answered()
        last = answered[-1].distance if len(answered) == self.shape.width else _FARTHEST
        radius = min(last, self._cut)
        gap = first_gap(self._claims(radius), (0, radius))
        return radius if gap is None else gap

    # Inside -------------------------------------------------------------------------------------------------------

    def _answered(self) -> list[Candidate]:
        return [c for c in self._candidates if c.state in _ALIVE][: self.shape.width]

    def _insert(self, record: SignedPeerRecord) -> None:
        candidate = Candidate(record, int.from_bytes(record.node_id, "big") ^ self._number)
        candidates = self._candidates
        if len(candidates) >= _KEPT * self.shape.width:
            leaving = next((c for c in reversed(candidates) if c.state is State.NEW), candidate)
            self._cut = min(self._cut, max(leaving.distance, candidate.distance))
            if leaving.distance <= candidate.distance:
                return
            candidates.remove(leaving)
            del self._by_id[leaving.record.node_id]
        insort(candidates, candidate, key=_by_distance)
        self._by_id[record.node_id] = candidate

    def _scan(self, now: float) -> tuple[list[Candidate], bool]:
        """Return the unasked nodes among the closest, and whether an answer is outstanding. A node that is late is
        still waited for, but the next one is asked in its place already."""
        fresh: list[Candidate] = []
        blocked = False
        left = self.shape.width
        for candidate in self._candidates:
            state = candidate.state
            if _is_gone(candidate, now):
                continue
            if state is State.NEW:
                fresh.append(candidate)
            elif state in _OPEN and candidate.given_up > now:
                blocked = True
                if state is State.ASKED and candidate.due <= now:
                    continue
            left -= 1
            if not left:
                break
        return fresh, blocked

    def _room(self, now: float) -> int:
        """Return how many more may be asked."""
        holding = sum(candidate.due > now for candidate in self._open)
        places = self.shape.alpha + self._failed + len(self._open) - holding
        if self._is_near(now):
            places = max(places, self.shape.last)
        return min(places - holding, self.shape.limit - len(self._open))

    def _is_near(self, now: float) -> bool:
        """Tell whether the α closest of those who answer in time have answered."""
        timely = (
            c for c in self._candidates if not (_is_gone(c, now) or (c.state is State.ASKED and c.due <= now))
        )
        closest = list(islice(timely, self.shape.alpha))
        return bool(closest) and all(c.state in _ALIVE for c in closest)

    def _most_useful(self, fresh: list[Candidate], now: float) -> list[Candidate]:
        """Order by log-distance, and among equals the reliable before the unreliable."""

        def usefulness(candidate: Candidate) -> tuple[int, bool, int]:
            unreliable = self._appraise(candidate.record.node_id, now)[1]
            return candidate.distance.bit_length(), unreliable, candidate.distance

        return sorted(fresh, key=usefulness)

    def _ask(self, candidate: Candidate, now: float) -> Ask:
        expected, _ = self._appraise(candidate.record.node_id, now)
        candidate.about = self._about(candidate)
        candidate.named = candidate.reach = 0
        candidate.state = State.ASKED if candidate.state is State.NEW else State.ASKED_AGAIN
        candidate.due = now + expected
        candidate.given_up = now + _PATIENCE * expected
        self._open.append(candidate)
        self.asked += 1
        about = (self._number ^ candidate.about).to_bytes(32, "big")
        return Ask(candidate.record, Kind.FIND_NODE_FAST, self.target, about)

    def _about(self, candidate: Candidate) -> int:
        """Return the distance that a node is asked about (see `coverage`): the target, until somebody near has told of
        it; then what is unexplored around the node itself."""
        radius = self._reach()
        claims = self._claims(radius)
        if first_gap(claims, (0, 1)) is not None:
            return 0
        asked = [c.about for c in self._open]
        guess = max(radius.bit_length() + _ANSWER_BITS - self.shape.width.bit_length(), 0)
        node = candidate.distance, home_bits(candidate.distance, self._known())
        return next_point(claims, asked, node, radius + 1, guess)

    def _claims(self, radius: int) -> list[Span]:
        """Return the credible claims of the nodes near the target."""
        known = self._known()
        near = [c for c in self._candidates if c.distance <= radius]
        return [claimed for c in near for claimed in c.claims if is_credible(claimed, c.distance, known)]

    def _known(self) -> list[int]:
        return [c.distance for c in self._candidates]

    def _reach(self) -> int:
        """Return the distance of the last of the closest nodes that have not failed; any, while there are too few."""
        known = [c.distance for c in self._candidates if c.state is not State.FAILED]
        return known[self.shape.width - 1] if len(known) >= self.shape.width else _FARTHEST - 1

    def _beyond(self) -> list[Candidate]:
        """Return a node that can tell of it, if something near the target is unexplored although all of the closest
        have answered: one behind them, or else one that was asked about something else. A few are asked at most."""
        radius = self._reach()
        gap = first_gap(self._claims(radius), (0, radius + 1))
        if gap is None or self._extra == self.shape.width // _EXTRA_SHARE:
            return []
        self._extra += 1
        known = self._known()
        local = [c for c in self._candidates if is_credible((gap, gap + 1), c.distance, known)]
        new = (c for c in local if c.state is State.NEW)
        again = (c for c in local if _may_be_asked_again(c, gap))
        candidate = next(new, None) or next(again, None)
        return [candidate] if candidate is not None else []

    def _close(self, ask: Ask, state: State) -> Candidate | None:
        candidate = self._by_id.get(ask.record.node_id)
        if candidate is None or candidate.state not in _OPEN:
            return None
        candidate.state = state if candidate.state is State.ASKED else State.ANSWERED
        self._open.remove(candidate)
        return candidate
