"""One node of the routing table: its record, and what its answers have taught us."""

from __future__ import annotations

from typing import Final

from codexdht.records import SignedPeerRecord

NEVER: Final = float("-inf")
_WEIGHT: Final = 0.1


class Entry:
    """A node known to the table.

    record: its newest verified record, always with an endpoint; number: its id as an integer; network: what its
    address counts against (see `records.networks.network_of`), or None; first_seen: when it was learnt of;
    last_seen: when it answered last, or NEVER; rtt, rtt_var, rtt_min: smoothed round trip, its mean deviation, and
    the shortest one, in seconds, None until measured; reliability: moving average of answered (1) and unanswered (0)
    requests, None until the first answer; answers: how many; failures: unanswered requests in a row; failed_at: how
    many answers we had had from anybody when it failed last; retrying: a timer will ask it again. Memory counts here:
    a simulation holds millions.
    """

    __slots__ = (
        "answers",
        "failed_at",
        "failures",
        "first_seen",
        "last_seen",
        "network",
        "number",
        "record",
        "reliability",
        "retrying",
        "rtt",
        "rtt_min",
        "rtt_var",
    )

    def __init__(self, record: SignedPeerRecord, number: int, network: str | None, now: float) -> None:
        self.record = record
        self.number = number
        self.network = network
        self.first_seen = now
        self.last_seen = NEVER
        self.rtt: float | None = None
        self.rtt_var: float | None = None
        self.rtt_min: float | None = None
        self.reliability: float | None = None
        self.answers = 0
        self.failures = 0
        self.failed_at = 0
        self.retrying = False

    @property
    def node_id(self) -> bytes:
        """The node's id."""
        return self.record.node_id

    def answered(self, rtt: float, now: float) -> None:
        """Count an answer that took rtt seconds. The smoothing is TCP's (RFC 6298, section 2)."""
        if self.rtt is None or self.rtt_var is None or self.rtt_min is None:
            self.rtt = self.rtt_min = rtt
            self.rtt_var = rtt / 2
        else:
            self.rtt_var += (abs(rtt - self.rtt) - self.rtt_var) / 4
            self.rtt += (rtt - self.rtt) / 8
            self.rtt_min = min(rtt, self.rtt_min)
        if self.reliability is None:
            self.reliability = 1.0
        elif self.reliability != 1.0:  # most stay at the one 1.0 that all share
            self.reliability += _WEIGHT * (1 - self.reliability)
        self.answers += 1
        self.failures = 0
        self.last_seen = now

    def failed(self) -> None:
        """Count a request that was not answered."""
        self.failures += 1
        if self.reliability is not None:
            self.reliability *= 1 - _WEIGHT

    def relevance(self) -> tuple[bool, bool, float, float]:
        """Return a sort key: unseen before seen, failing and unreliable before reliable, slow before fast."""
        return self.answers > 0, self.failures == 0, self.reliability or 0.0, -(self.rtt or 0.0)
