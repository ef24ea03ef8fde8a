"""The lookup: which live nodes are closest to a target (Kademlia, section 2.3; behaviour.md, "Calls and queries")."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.candidate import OPEN, Candidate, State
from codexdht.routing.queries.coverage import Span, first_gap, subtree, unexplored
from codexdht.routing.queries.query import FARTHEST, Appraise, Ask, Shape
from codexdht.routing.queries.surroundings import Surroundings

_SCALE_BITS: Final = 5
_ANSWER_BITS: Final = 2
_SPARES: Final = 3
_LEVELS: Final = 3
_WAITS: Final = 0.85
_EARLY: Final = 0.5
_ENOUGH: Final = 2
"""Claims to be expected before nobody else is asked about a point; one that has been made counts as much."""


class _Scan(NamedTuple):
    """fresh: the unasked nodes among the closest; spares: a few behind them; blocked: an answer is outstanding."""

    fresh: list[Candidate]
    spares: list[Candidate]
    blocked: bool


class _Map(NamedTuple):
    """What is explored up to a radius. gap: the nearest distance that nobody has told of; near: up to where nodes are
    taken to be among the closest; expected: each claim `_ENOUGH` times, and once those that the nodes will make that
    are being asked just now: of subtrees of about 2^bits ids."""

    radius: int
    gap: int
    near: int
    expected: list[Span]
    bits: int


class Lookup:
    """Asks ever closer nodes until the `width` closest that are alive have answered.

    Two things are found out: who there is, by FIND_NODE_FAST about what nobody has told of yet; and who of the closest
    is alive, which whoever was asked has shown, and the others are sent a PING for: small, and answered by one packet.
    `_open` are the nodes that are being asked. A node is asked once, and again only about a gap in what was told. How
    near the closest are is guessed from `shape.scale`; where that is unknown, nobody is sent a PING in place of a
    question.

    A node that does not answer within its expected time loses its place, so that the next one is asked at once; when
    twice that time has passed, the lookup may end without it, and at once when the lookup has taken `_WAITS` seconds.
    Each that was lost in this way makes room for one more (`_failed` counts those that are not open any more): where
    one node is gone, others are. Once somebody has told of nodes, or that it knows of none (`_told`), `shape.told` near
    ones are asked, and when the α closest have answered, `shape.last`. When nothing is left to explore, a few behind
    the closest are sent PINGs, in case that some of those do not answer. Before anybody has answered, a lookup ends
    only when nobody can any more.
    """

    __slots__ = (
        "_appraise",
        "_began",
        "_extra",
        "_failed",
        "_known",
        "_open",
        "_own_id",
        "_told",
        "asked",
        "done",
        "shape",
        "target",
    )

    def __init__(self, target: bytes, own_id: bytes, shape: Shape, appraise: Appraise) -> None:
        self.target = target
        self.shape = shape
        self.done = False
        self.asked = 0
        self._own_id = own_id
        self._appraise = appraise
        self._known = Surroundings(int.from_bytes(target, "big"), shape.width, shape.scale)
        self._open: list[Candidate] = []
        self._extra = 0
        self._failed = 0
        self._told = False
        self._began: float | None = None

    # Driving ------------------------------------------------------------------------------------------------------

    def add(self, records: Iterable[SignedPeerRecord]) -> None:
        """Take note of nodes; of one that is known, keep the newer record."""
        for record in records:
            if record.endpoint is not None and record.node_id != self._own_id:
                self._known.add(record)

    def next(self, now: float) -> list[Ask]:
        """Return what to send now, and end the lookup when nothing can change its result any more."""
        if self.done:
            return []
        left = max(self.shape.limit - len(self._open), 0)
        scan = self._scan(now)
        if not scan.fresh and not scan.blocked:
            self._known.trust_all()
        explored = self._map(now)
        asks = self._ask_fresh(scan.fresh, explored, now, left)
        if not self._has_near(scan, explored):
            asks += self._explore(explored, now, left - len(asks))
        if not asks and not self._asked_in_time(now):
            spares = scan.spares if scan.blocked and explored.near else []
            asks = self._ping(scan.fresh or spares, now, left)
        is_held_up = not left and explored.gap <= explored.radius
        if not (asks or scan.fresh or scan.blocked or is_held_up or self._asked_in_time(now)):
            self.done = not self._open or bool(self._known.answered())
        return asks

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
        self._told = self._told or bool(records)
        candidate = self._known.get(ask.record.node_id)
        if candidate is not None and candidate.points:
            target = int.from_bytes(self.target, "big")
            candidate.has_named([record.number ^ target for record in records])

    def on_answer(self, ask: Ask, _now: float) -> None:
        """A node has answered."""
        candidate = self._close(ask)
        if candidate is not None:
            candidate.has_answered()
            self._told = self._told or not candidate.pinged

    def on_timeout(self, ask: Ask, _now: float) -> None:
        """A node has not answered."""
        candidate = self._close(ask)
        if candidate is not None:
            candidate.has_failed()
            self._failed += 1

    def on_deadline(self, now: float) -> None:
        """Go on: what is found later still teaches the routing table."""

    def doubt(self, node_id: bytes) -> None:
        """A node has not answered something else that it was asked: it is not asked now, if it was not yet."""
        candidate = self._known.get(node_id)
        if candidate is not None:
            candidate.silent = True

    @property
    def settled(self) -> bool:
        """See Query."""
        return self.done

    # Results ------------------------------------------------------------------------------------------------------

    def closest(self, count: int | None = None) -> list[SignedPeerRecord]:
        """Return the records of the closest nodes that have answered, nearest first; `width` of them by default."""
        return [c.record for c in self._known.answered()[:count]]

    def record_of(self, node_id: bytes) -> SignedPeerRecord | None:
        """Return the newest record seen of a node, alive or not."""
        known = self._known.get(node_id)
        return known.record if known is not None else None

    def window(self, count: int, now: float | None = None) -> list[SignedPeerRecord]:
        """Return the records of the closest nodes that have not failed and, at a time, are still waited for."""
        if now is None:
            alive = (c.record for c in self._known if c.state is not State.FAILED)
        else:
            alive = (c.record for c in self._known if not c.is_gone(now))
        return list(islice(alive, count))

    def silent(self) -> list[SignedPeerRecord]:
        """Return the records of nodes that were asked, have not answered, and are no farther away than the last of the
        closest: dead, or alive and unlucky."""
        last = self._known.last()
        return [c.record for c in self._known if c.state in (State.ASKED, State.FAILED) and c.distance < last]

    def undecided(self) -> set[bytes]:
        """Return the ids of nodes whose first request has not ended yet."""
        return {c.record.node_id for c in self._open if c.state is State.ASKED}

    def certain(self, now: float) -> list[SignedPeerRecord]:
        """Return the records of nodes that have answered and are among the closest, whatever else is found.

        The α closest nodes still waited for have all answered, and somebody has told of all that is as near; where the
        scale is unknown, two agree on it: early in a lookup, with few nodes known, one claim may seem credible that is
        not.
        """
        alive = list(islice((c for c in self._known if not c.is_gone(now)), self.shape.alpha))
        if not all(c.is_alive for c in alive):
            return []
        answered = self._known.answered()
        level = 1 if self.shape.scale < FARTHEST else 2
        gap = self._known.gap(answered[-1].distance + 1 if answered else 0, level)
        return [c.record for c in answered if gap is None or c.distance < gap]

    def radius(self) -> int:
        """Return a distance below which every live node is known and has answered.

        That is what credible claims cover without a gap, up to the last of the closest, if as many answered as were
        wanted, and up to the nearest node that was left out.
        """
        radius = min(self._known.last(), self._known.cut)
        gap = self._known.gap(radius)
        return radius if gap is None else gap

    # Whom to ask --------------------------------------------------------------------------------------------------

    def _scan(self, now: float) -> _Scan:
        """Look at the closest. A node that is late is still waited for, but the next one is asked in its place."""
        scan: list[list[Candidate]] = [[], []]
        blocked = False
        left = self.shape.width
        for candidate in self._known:
            if candidate.is_gone(now):
                continue
            if candidate.state is State.NEW:
                scan[left <= 0].append(candidate)
            elif left > 0 and candidate.state in OPEN and candidate.given_up > now:
                blocked = True
                if candidate.is_late(now):
                    continue
            left -= 1
            if left <= -_SPARES:
                break
        return _Scan(scan[0], scan[1], blocked)

    def _has_near(self, scan: _Scan, explored: _Map) -> bool:
        """Tell whether somebody near is still to be asked; with an unknown scale, whether anybody is waited for."""
        if not explored.near:
            return bool(scan.fresh) or scan.blocked
        return any(c.state is State.NEW and c.distance < explored.near for c in scan.fresh)

    def _ask_fresh(self, fresh: list[Candidate], explored: _Map, now: float, left: int) -> list[Ask]:
        """Ask nodes among the closest: about something that is unexplored around them, where there is room; others
        that are as near as the closest are expected to be, whether they are there."""
        far, near = self._room(now)
        if len(fresh) > min(near, left):
            fresh = self._most_useful(fresh, now)
        asks: list[Ask] = []
        for candidate in fresh:
            if len(asks) == left:
                break
            is_near = candidate.distance < explored.near
            point = self._point(candidate, explored) if (near if is_near else far) > 0 else None
            if point is not None:
                far, near = far - 1, near - 1
                explored.expected.append(subtree(point, explored.bits))
                asks.append(self._ask(candidate, point, now))
            elif is_near:
                asks.append(self._ask(candidate, None, now))
        return asks

    def _asked_in_time(self, now: float) -> list[Candidate]:
        """Return the nodes that are being asked about something, and not late."""
        return [c for c in self._open if not c.pinged and c.due > now]

    def _room(self, now: float) -> tuple[int, int]:
        """Return how many more nodes something may be asked: far ones, and near ones."""
        holding = len(self._asked_in_time(now))
        late = sum(not c.pinged for c in self._open) - holding
        alpha, told, last = self.shape.alpha, self.shape.told, self.shape.last
        lost = self._failed + late - holding
        if self._is_near(now):
            places = max(alpha + lost, last - holding)
            return places, max(places, told + lost)
        return alpha + lost, max(alpha, told if self._told else 0) + lost

    def _is_near(self, now: float) -> bool:
        """Tell whether the α closest of those who answer in time have answered."""
        timely = (c for c in self._known if not (c.is_gone(now) or c.is_late(now)))
        closest = list(islice(timely, self.shape.alpha))
        return bool(closest) and all(c.is_alive for c in closest)

    def _most_useful(self, fresh: list[Candidate], now: float) -> list[Candidate]:
        """Order by log-distance, and among equals the reliable before the unreliable."""

        def usefulness(candidate: Candidate) -> tuple[int, bool, int]:
            unreliable = self._appraise(candidate.record.node_id, now)[1]
            return candidate.distance.bit_length(), unreliable, candidate.distance

        return sorted(fresh, key=usefulness)

    def _map(self, now: float) -> _Map:
        shape, known = self.shape, self._known
        radius = known.reach()
        bits = min(radius.bit_length() - shape.width.bit_length(), known.home - _SCALE_BITS) + _ANSWER_BITS
        claims = known.claims(radius)
        gap = first_gap(claims, (0, radius + 1))
        end = radius + 1 if gap is None else gap
        near = max(end, shape.scale * 3 // 2) if shape.scale < FARTHEST else 0
        expected = claims * (_ENOUGH if near else 1) + known.expected(self._asked_in_time(now), max(bits, 0))
        return _Map(radius, end, near, expected, max(bits, 0))

    def _point(self, candidate: Candidate, explored: _Map) -> int | None:
        """Return the distance that a node is asked about (see `coverage`): the target, until somebody near will tell of
        it; then what is unexplored around the node itself, if anything."""
        node = candidate.distance, self._known.home_bits(candidate.distance)
        if not explored.near:
            point = unexplored(explored.expected, node, explored.radius + 1, explored.bits, _LEVELS)
            return 0 if explored.gap == 0 else candidate.distance if point is None else point
        if self._known.is_far(candidate.distance):
            return 0 if explored.gap == 0 else None
        if first_gap(explored.expected, (0, 1), _ENOUGH) is not None:
            return 0
        return unexplored(explored.expected, node, explored.radius + 1, explored.bits, _ENOUGH)

    def _explore(self, explored: _Map, now: float, left: int) -> list[Ask]:
        """Ask nodes that can tell of it, if something near the target is unexplored although all near ones have been
        asked something: those that answer soonest. In the lookup's first half second as many are asked as it looks for
        at most, half of these later: each takes time."""
        asks: list[Ask] = []
        is_early = self._began is None or now < self._began + _EARLY
        most = self.shape.width if is_early else self.shape.width // 2
        while self._told and len(asks) < left and self._extra < most:
            gap = first_gap(explored.expected, (0, explored.radius + 1))
            able = [c for c in self._known.informants(gap) if c.may_tell_of(gap)] if gap is not None else []
            if gap is None or not able:
                break
            self._extra += 1
            informant = min(able, key=lambda c: self._appraise(c.record.node_id, now)[0])
            asks.append(self._ask(informant, gap, now))
            explored.expected.append(subtree(gap, explored.bits))
        return asks

    def _ping(self, candidates: list[Candidate], now: float, left: int) -> list[Ask]:
        return [self._ask(candidate, None, now) for candidate in candidates[:left]]

    def _ask(self, candidate: Candidate, point: int | None, now: float) -> Ask:
        expected, _ = self._appraise(candidate.record.node_id, now)
        self._open.append(candidate)
        self.asked += 1
        self._began = now if self._began is None else self._began
        latest = max(now + expected, self._began + _WAITS)
        return candidate.ask(self.target, point, now, expected, latest)

    def _close(self, ask: Ask) -> Candidate | None:
        candidate = self._known.get(ask.record.node_id)
        if candidate is None or candidate.state not in OPEN:
            return None
        self._open.remove(candidate)
        return candidate
