"""Requests to peers: sent through the wire actor, each ended by an answer, a failure or the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from codexdht.errors import DecodeError
from codexdht.messages import discv5
from codexdht.messages.discv5 import RESPONSE_TO, Kind
from codexdht.messages.internal import Actor, Call, CallAnswer, CallFailed, CallSent
from codexdht.records import SignedPeerRecord
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.nodes import MAX_PACKETS

_GRACE = 0.5
_RECORD_KINDS: Final = (int(Kind.NODES), int(Kind.PROVIDERS))
_DECODE: Final[dict[int, Callable[[bytes], Any]]] = {
    Kind.PONG: discv5.decode_pong,
    Kind.TALK_RESP: discv5.decode_talk_response,
}
_ADD_PROVIDER: Final = Kind.ADD_PROVIDER
_WIRE: Final = Actor.WIRE


class PendingCall:
    """A request on its way: whom it asks, what kind, who is told of the end; context is the listener's own.

    left: packets of the answer still expected, None before the first; expires: when we stop waiting for the wire to
    say how it ended.
    """

    __slots__ = ("context", "expires", "kind", "left", "listener", "record")

    def __init__(
        self, record: SignedPeerRecord, kind: int, listener: CallListener, context: Any, expires: float
    ) -> None:
        self.record = record
        self.kind = kind
        self.listener = listener
        self.context = context
        self.expires = expires
        self.left: int | None = None


class CallListener(Protocol):
    """Who is told how a call goes."""

    def call_answered(self, call: PendingCall, body: Any, rtt: float, last: bool, now: float, /) -> None:
        """A packet came. body: encoded records of NODES and PROVIDERS, a Pong, or the response of a TALK_RESP; it is
        empty with a `last` that only says that nothing more will come, and for an ADD_PROVIDER that has left."""

    def call_failed(self, call: PendingCall, reason: str, now: float, /) -> None:
        """Nothing came, or (reason `undecodable`) nothing that decodes."""


class Calls:
    """The table of calls by number, bounded by `max_calls`. Every call ends: the wire says how, or has been
    restarted, or stays silent beyond the call's deadline. How a call ends is told to the contacts first.

    Invariant: the calls are in the order in which they expire, and none expires before `_sweep_at`. That is no timer,
    as nearly every call has ended by then.
    """

    __slots__ = ("_calls", "_contacts", "_counters", "_last", "_outbox", "_settings", "_sweep_at")

    def __init__(self, core: Core, contacts: Contacts) -> None:
        self._contacts = contacts
        self._counters = core.counters
        self._settings = core.settings
        self._outbox = core.outbox
        self._calls: dict[int, PendingCall] = {}
        self._last = 0
        self._sweep_at = 0.0

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def room(self) -> int:
        """How many more calls may be made now."""
        return self._settings.max_calls - len(self._calls)

    def ask(
        self,
        record: SignedPeerRecord,
        kind: int,
        body: bytes,
        listener: CallListener,
        *,
        context: Any,
        now: float,
    ) -> None:
        """Send a request to the node of a record that has an endpoint."""
        self._last += 1
        deadline = now + self._settings.call_timeout
        call = PendingCall(record, kind, listener, context, deadline + _GRACE)
        if not self._calls:
            self._sweep_at = call.expires
        self._calls[self._last] = call
        host, port = record.endpoint or ("", 0)
        self._outbox.send(
            _WIRE, Call(self._last, deadline, record.node_id, record.public_key, host, port, kind, body)
        )

    def on_answer(self, answer: CallAnswer, now: float) -> None:
        """Take a packet of an answer."""
        call = self._calls.get(answer.call)
        if call is None:
            self._counters["call_answers_late"] += 1
            return
        if RESPONSE_TO.get(call.kind) != answer.kind:
            self._counters["call_answers_unasked"] += 1
            return
        first = call.left is None
        try:
            body = self._body(call, answer)
        except DecodeError:
            self._counters["call_answers_undecodable"] += 1
            self._end(answer.call, "undecodable", now)
            return
        if first:
            self._contacts.answered(call.record, call.kind, answer.rtt, answer.client_mode, now)
        if not call.left:
            del self._calls[answer.call]
        call.listener.call_answered(call, body, answer.rtt, not call.left, now)

    def on_sent(self, sent: CallSent, now: float) -> None:
        """The packet of a request without an answer has left."""
        call = self._calls.pop(sent.call, None)
        if call is not None:
            call.listener.call_answered(call, b"", 0.0, True, now)

    def on_failed(self, failed: CallFailed, now: float) -> None:
        """The wire says that a call got no answer, or no further packet of one."""
        self._end(failed.call, failed.reason, now)

    def fail_all(self, reason: str, now: float) -> None:
        """The wire knows of no call any more."""
        for number in list(self._calls):
            self._end(number, reason, now)

    def deadline(self) -> float | None:
        """Return when `sweep` wants to be called next."""
        return self._sweep_at if self._calls else None

    def sweep(self, now: float) -> None:
        """End the calls that the wire has forgotten."""
        if not self._calls or now < self._sweep_at:
            return
        for number in [number for number, call in self._calls.items() if call.expires <= now]:
            self._end(number, "lost", now)
        oldest = next(iter(self._calls.values()), None)
        if oldest is not None:
            self._sweep_at = oldest.expires

    def _end(self, number: int, reason: str, now: float) -> None:
        call = self._calls.pop(number, None)
        if call is None:
            return
        if call.left is not None:
            call.listener.call_answered(call, [], 0.0, True, now)
            return
        self._counters["calls_" + reason if reason in _REASONS else "calls_failed"] += 1
        if reason in _NODES_FAULT and call.kind != _ADD_PROVIDER:  # its success would count for nothing
            self._contacts.failed(call.record, call.kind, now)
        call.listener.call_failed(call, reason, now)

    def _body(self, call: PendingCall, answer: CallAnswer) -> Any:
        if answer.kind not in _RECORD_KINDS:
            body = _DECODE[answer.kind](answer.body)
            call.left = 0
            return body
        total, records = discv5.decode_records(answer.body)
        if call.left is None:
            if total > MAX_PACKETS:
                self._counters["call_answers_total_capped"] += 1
            call.left = min(max(total, 1), MAX_PACKETS)
        call.left -= 1
        return records


_NODES_FAULT = ("timeout", "unreachable", "undecodable")
OUR_FAULT = ("busy", "closed", "lost")
_REASONS = (*_NODES_FAULT, *OUR_FAULT)
