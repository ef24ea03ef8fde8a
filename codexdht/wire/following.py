"""The wire actor's logic in every process but the first, where several serve one UDP port.

Sessions, handshakes and calls are those of the peers that belong to the process. The node's records and the sockets
are the first process's: it says what the records are, and when there are sockets to be had.
"""

from __future__ import annotations

from codexdht.messages.internal import Actor, AddressVoted, Close, Hello, LocalRecords, Open, UpdateRecord
from codexdht.records import Endpoint
from codexdht.wire.machine import WireMachine


class FollowingWireMachine(WireMachine):
    """A wire machine that signs and saves nothing. Its shell binds no sockets, but is given them."""

    def boot(self, now: float) -> None:  # noqa: ARG002
        """See Machine. The other actors know the first process; this one is between it and the peers."""
        for kind in (Open, UpdateRecord, AddressVoted):
            del self._handlers[kind]
        self._handlers[LocalRecords] = self._follow
        self.outbox.send(Actor.WIRE, Hello(Actor.WIRE))

    def _hello(self, hello: Hello, now: float) -> None:  # noqa: ARG002
        self._meet_routing(hello)

    def _follow(self, records: LocalRecords, _now: float) -> None:
        self._local.follow(records.record, records.provider_record)
        self.record_changed()

    def _close(self, message: Close, now: float) -> None:  # noqa: ARG002
        """Close the sockets; that the node has done so is for the first process to say."""
        self._give_up_sockets(now)

    def socket_bound(self, endpoints: list[Endpoint], now: float) -> None:  # noqa: ARG002
        """See Presence."""
        self._bound = endpoints
