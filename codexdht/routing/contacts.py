"""What the node knows about other nodes, and learns from how they answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from codexdht.records import SignedPeerRecord
from codexdht.routing.connectivity import Connectivity
from codexdht.routing.core import Core
from codexdht.routing.entry import Entry
from codexdht.routing.fastnodes import FastSupport
from codexdht.routing.table import RoutingTable

_MEDIAN_KEPT = 10.0
_STRANGER_ROUNDS = 2
_UNRELIABLE = 0.8


class Contacts:
    """The routing table together with what else is remembered: which nodes lack FIND_NODE_FAST, whether the network
    is there at all, and how long an answer takes.

    bootstrap: the configured nodes, other than us, that can be reached; on_doubt is called with an entry that should be
    asked again soon.
    """

    __slots__ = (
        "_median",
        "_median_until",
        "_settings",
        "bootstrap",
        "connectivity",
        "counters",
        "fast",
        "on_doubt",
        "own_id",
        "records",
        "table",
    )

    def __init__(self, core: Core, bootstrap: list[SignedPeerRecord]) -> None:
        self.own_id = core.local.node_id
        self.bootstrap = [r for r in bootstrap if r.node_id != self.own_id and r.endpoint is not None]
        self.records = core.records
        self.counters = core.counters
        self.table = RoutingTable(self.own_id, core.settings, core.counters)
        self.connectivity = Connectivity()
        self.fast = FastSupport()
        self.on_doubt: Callable[[Entry, float], None] | None = None
        self._settings = core.settings
        self._median = core.settings.hedge_max
        self._median_until = 0.0

    def learn(self, records: Iterable[SignedPeerRecord], now: float) -> None:
        """Take note of nodes that others told us of."""
        for record in records:
            entry = self.table.add(record, now)
            if entry is not None and entry.failures:
                self._doubt(entry, now)

    def answered(
        self, record: SignedPeerRecord, kind: int, rtt: float, client_mode: bool, now: float
    ) -> None:
        """Take note of a node's answer to a request of this kind."""
        self.connectivity.answered(now)
        self.fast.answered(record.node_id, kind)
        if client_mode:
            self.forget_client(record.node_id)
        else:
            self.table.answered(record, rtt, now)

    def failed(self, record: SignedPeerRecord, kind: int, now: float) -> None:
        """Take note of a request, other than an ADD_PROVIDER, that a node did not answer in time. What an older record
        was asked for says nothing of a node that is elsewhere now: any peer may hand on old records of others.

        A node's further failures in a row count only where somebody has answered since the last one: until a cut-off
        node has noticed that the fault is its own, it loses nobody.
        """
        node_id = record.node_id
        entry = self.table.get(node_id)
        if entry is not None and entry.record.endpoint != record.endpoint:
            self.counters["failures_at_old_address"] += 1
            return
        failing = entry if entry is not None and entry.failures else None
        self.connectivity.failed(now, expected=failing is not None)
        if self.connectivity.ours:
            self.counters["failures_blamed_on_us"] += 1
            return
        if failing is not None and failing.failed_at == self.connectivity.answers:
            self.counters["failures_in_silence"] += 1
            self._doubt(failing, now)
            return
        self.fast.timed_out(node_id, kind)
        entry = self.table.failed(node_id)
        if entry is not None:
            entry.failed_at = self.connectivity.answers
            self._doubt(entry, now)

    def forget_client(self, node_id: bytes) -> None:
        """A node runs in client mode: it wants to be in nobody's table."""
        if self.table.remove(node_id):
            self.counters["table_removed_client"] += 1

    def appraise(self, node_id: bytes, now: float) -> tuple[float, bool]:
        """Return how long a node's answer is waited for before another node is asked, and whether it is unreliable.

        A known node's time is its smoothed round trip and twice its deviation; a stranger's is that of the table's
        median, times two for the handshake.
        """
        entry = self.table.get(node_id)
        if entry is None or entry.rtt is None or entry.rtt_var is None:
            expected = self._stranger(now)
        else:
            expected = entry.rtt + 2 * entry.rtt_var
        settings = self._settings
        return min(max(expected, settings.hedge_min), settings.hedge_max), _is_unreliable(entry)

    def may_live(self, node_id: bytes) -> bool:
        """Tell whether a node that has just not answered may well be alive: a stranger, or a node that answered before
        and has missed one request only. Packets get lost more often than nodes."""
        entry = self.table.get(node_id)
        return entry is None or (entry.answers > 0 and entry.failures <= 1)

    def best_record(self, record: SignedPeerRecord) -> SignedPeerRecord:
        """Return this record of a node, or the newer one in the table."""
        entry = self.table.get(record.node_id)
        return entry.record if entry is not None and entry.record.seq > record.seq else record

    def _stranger(self, now: float) -> float:
        if now >= self._median_until:
            known = sorted(e.rtt for e in self.table if e.rtt is not None)
            self._median = _STRANGER_ROUNDS * known[len(known) // 2] if known else self._settings.hedge_max
            self._median_until = now + _MEDIAN_KEPT
        return self._median

    def _doubt(self, entry: Entry, now: float) -> None:
        if self.on_doubt is not None:
            self.on_doubt(entry, now)


def _is_unreliable(entry: Entry | None) -> bool:
    return entry is not None and (
        entry.failures > 0 or (entry.reliability is not None and entry.reliability < _UNRELIABLE)
    )
