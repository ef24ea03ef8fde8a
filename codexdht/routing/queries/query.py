"""What every query has in common.

A query never sends anything: the runner asks it what to send (`next`) and tells it what came of that. Time comes in as
an argument. It is over when `done` is true, however it came to that; it then wants nothing sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from codexdht.records import SignedPeerRecord

FARTHEST: Final = 1 << 256
"""Beyond every distance."""
Appraise = Callable[[bytes, float], tuple[float, bool]]
"""Node id, now → seconds to wait for its answer before another node is asked; whether it is unreliable."""


class Ask(NamedTuple):
    """A request to send to the node of a record, for the sake of a key.

    FIND_NODE_FAST asks for the nodes closest to `about`; to a node that lacks it, a FIND_NODE for the distances around
    the key goes instead. Any other FIND_NODE asks for the node's own record (distance 0); a PING, only whether it is
    there. stored is the record that an ADD_PROVIDER carries.
    """

    record: SignedPeerRecord
    kind: int
    key: bytes
    about: bytes = b""
    stored: bytes = b""


class Shape(NamedTuple):
    """Sizes of a lookup. width: how many live nodes it looks for (k); alpha: requests that hold a place; limit:
    requests in flight, slow ones included; last: requests that hold a place once the α closest have answered.

    told: requests that hold a place once somebody has told of nodes; scale: within which distance of any point there
    are about k nodes, as far as we know."""

    width: int
    alpha: int
    limit: int
    last: int = 1
    told: int = 1
    scale: int = FARTHEST


class Query(Protocol):
    """The surface that the runner drives."""

    target: bytes
    done: bool

    @property
    def settled(self) -> bool:
        """Whether the user may be answered: it is over, or what is left is done for nodes that should have answered."""

    def next(self, now: float) -> list[Ask]:
        """Return what to send now; each is sent, and comes to an answer or a timeout."""

    def wake(self, now: float) -> float | None:
        """Return when `next` may have more to send, or `done` come true, although nothing was answered."""

    def on_records(self, ask: Ask, records: list[SignedPeerRecord], now: float, /) -> None:
        """Take records of an answer, of which more packets may follow."""

    def on_answer(self, ask: Ask, now: float, /) -> None:
        """The answer is complete, or as complete as it will get."""

    def on_timeout(self, ask: Ask, now: float, /) -> None:
        """No answer came."""

    def on_deadline(self, now: float) -> None:
        """The user has been answered with what there was; the query may still go on."""
