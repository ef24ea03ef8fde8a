"""PINGs, and what a PONG tells: how fast a node is, where it sees us, and whether its record has changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind, Pong
from codexdht.messages.internal import Actor, AddressVoted
from codexdht.records import Endpoint, SignedPeerRecord, endpoint_of, multiaddress_of_endpoint
from codexdht.routing.calls import Calls, PendingCall
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.nodes import NodesAnswer, scope_objection
from codexdht.routing.votes import AddressVotes

_PING: Final = Kind.PING
_TELL_AGAIN: Final = 60.0

OnPong = Callable[[Pong | None, float, float], None]
"""The PONG (None: none came), its round trip in seconds, now."""


class Pinger:
    """Listens to its own PINGs and to the FIND_NODEs that fetch a changed record. `in_flight` counts both. `_told`: the
    majority that the wire was told of last, and when, by whether it is an IPv6 address."""

    __slots__ = ("_calls", "_contacts", "_local", "_outbox", "_told", "in_flight", "votes")

    def __init__(self, core: Core, contacts: Contacts, calls: Calls) -> None:
        self._contacts = contacts
        self._calls = calls
        self._local = core.local
        self._outbox = core.outbox
        self._told: dict[bool, tuple[Endpoint, float]] = {}
        self.votes = AddressVotes(core.settings)
        self.in_flight = 0

    def ping(self, record: SignedPeerRecord, now: float, on_pong: OnPong | None = None) -> None:
        """Send a PING to a node."""
        self.in_flight += 1
        self._calls.ask(record, _PING, discv5.encode_ping(self._local.seq), self, context=on_pong, now=now)

    def call_answered(self, call: PendingCall, body: Any, rtt: float, last: bool, now: float) -> None:
        """Take a PONG, or the record that one has made us ask for."""
        self.in_flight -= last
        if call.kind == _PING:
            self.heard(call.record, body, now)
            if call.context is not None:
                call.context(body, rtt, now)
        elif body:
            answer: NodesAnswer = call.context
            self._contacts.learn(answer.take(body, self._contacts.records, self._contacts.counters), now)

    def call_failed(self, call: PendingCall, _reason: str, now: float) -> None:
        """No PONG came."""
        self.in_flight -= 1
        if call.kind == _PING and call.context is not None:
            call.context(None, 0.0, now)

    def heard(self, record: SignedPeerRecord, pong: Pong, now: float) -> None:
        """Learn from the PONG of a node, whoever sent it the PING: count its vote, and fetch its record if that has
        changed."""
        self._count_vote(record, (pong.host, pong.port), now)
        if pong.seq > self._contacts.best_record(record).seq:
            self._fetch(record, now)

    def _fetch(self, record: SignedPeerRecord, now: float) -> None:
        if self._calls.room:
            self.in_flight += 1
            answer = NodesAnswer(Kind.FIND_NODE, (0,), record)
            self._calls.ask(
                record, Kind.FIND_NODE, discv5.encode_find_node([0]), self, context=answer, now=now
            )

    # Address votes ------------------------------------------------------------------------------------------------

    def _count_vote(self, voter: SignedPeerRecord, seen: Endpoint, now: float) -> None:
        """Take a vote, and tell the wire of a majority against our record."""
        host = voter.endpoint[0] if voter.endpoint is not None else ""
        if not _can_have_seen(host, seen):
            self._contacts.counters["votes_refused_address"] += 1
            return
        if not self.votes.add(voter.node_id, host, seen, now):
            self._contacts.counters["votes_refused_network"] += 1
            return
        address = self.votes.majority(seen[0], now)
        if address is not None and not self._is_announced(address):
            self._tell(address, now)

    def _tell(self, address: Endpoint, now: float) -> None:
        """Tell the wire of a majority; warn while our record goes on saying otherwise, and tell the wire again: it may
        have a fixed address, or have died or failed to save the new one."""
        family = ":" in address[0]
        told, told_at = self._told.get(family, (None, now))
        if told == address:
            self._outbox.log("warning", "address_disagrees", seen=f"{address[0]} {address[1]}")
            if now < told_at + _TELL_AGAIN:
                return
        self._told[family] = address, now
        self._outbox.send(Actor.WIRE, AddressVoted(*address))

    def _is_announced(self, address: Endpoint) -> bool:
        record = self._local.record
        if record is None:
            return False
        return record.endpoint == address or address in map(endpoint_of, record.addresses)


@lru_cache(maxsize=256)
def _can_have_seen(voter: str, seen: Endpoint) -> bool:
    """Tell whether a peer at this address can have had a packet of ours from that endpoint: one of the same family, as
    there may be no others to contradict it, and one that anybody can answer to."""
    is_unicast = endpoint_of(multiaddress_of_endpoint(seen)) is not None
    return is_unicast and (":" in voter) == (":" in seen[0]) and not scope_objection(seen[0], voter)
