"""A node that may be among the closest to a target, and how far a lookup is with it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.queries.coverage import ANSWER_SIZE, Span, claim
from codexdht.routing.queries.query import Ask

_PATIENCE: Final = 2.0


class State(IntEnum):
    """What a candidate has been asked, and has answered. One that is asked again has answered before."""

    NEW = 0
    ASKED = 1
    ANSWERED = 2
    FAILED = 3
    ASKED_AGAIN = 4


ALIVE: Final = (State.ANSWERED, State.ASKED_AGAIN)
OPEN: Final = (State.ASKED, State.ASKED_AGAIN)


class Candidate:
    """distance: XOR with the target; silent: it leaves something else unanswered that it was asked.

    due: when its request no longer holds a place; given_up: when the lookup no longer waits for it to end (a late
    answer still counts). points: the distances that it was asked about, none if it was sent nothing but a PING;
    pinged: whether a PING was the last that it was sent; named: how many nodes it has named since it was asked last;
    reach: how far the farthest of them is from that point; names: the distances of all that it has ever named; claims:
    what follows from its answers.
    """

    __slots__ = (
        "claims",
        "distance",
        "due",
        "given_up",
        "named",
        "names",
        "pinged",
        "points",
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
        self.points: tuple[int, ...] = ()
        self.pinged = False
        self.named = 0
        self.reach = 0
        self.names: tuple[int, ...] = ()
        self.claims: tuple[Span, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it has answered."""
        return self.state in ALIVE

    def is_gone(self, now: float) -> bool:
        """Tell whether it is not waited for any more, or need not be asked at all."""
        if self.state is State.NEW:
            return self.silent
        return self.state is State.FAILED or (self.state is State.ASKED and self.given_up <= now)

    def is_late(self, now: float) -> bool:
        """Tell whether it should have answered by now."""
        return self.state is State.ASKED and self.due <= now

    def may_tell_of(self, gap: int) -> bool:
        """Tell whether it may be asked about a gap: not yet asked at all, or it has answered, and told of something
        else."""
        if self.state is State.NEW:
            return not self.silent
        if self.state is not State.ANSWERED or gap in self.points or len(self.claims) < len(self.points):
            return False
        return not any(start <= gap < end for start, end in self.claims)

    def ask(self, target: bytes, point: int | None, now: float, expected: float, latest: float) -> Ask:
        """Return the request that asks it about a point, or only whether it is there; it is given up at `latest`."""
        self.state = State.ASKED if self.state is State.NEW else State.ASKED_AGAIN
        self.due = now + expected
        self.given_up = min(now + _PATIENCE * expected, latest)
        self.pinged = point is None
        if point is None:
            return Ask(self.record, Kind.PING, target)
        self.named = self.reach = 0
        self.points += (point,)
        about = (int.from_bytes(target, "big") ^ point).to_bytes(32, "big")
        return Ask(self.record, Kind.FIND_NODE_FAST, target, about)

    def has_named(self, distances: list[int]) -> None:
        """Take the distances (to the target) of nodes that it has named."""
        self.named += len(distances)
        self.names += tuple(distances)
        self.reach = max([self.reach, *(distance ^ self.points[-1] for distance in distances)])

    def has_answered(self) -> None:
        """Take its answer for complete. More nodes than a FIND_NODE_FAST is answered with were named for another
        reason, so nothing follows from them."""
        self.state = State.ANSWERED
        if not self.pinged and self.named <= ANSWER_SIZE:
            self.claims += (claim(self.points[-1], self.named, self.reach),)

    def has_failed(self) -> None:
        """It has not answered this time."""
        self.state = State.FAILED if self.state is State.ASKED else State.ANSWERED
