"""Requests of ours that are in flight, and how they end (wire.md sections 3 to 5)."""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf

from codexdht.messages.discv5 import RESPONSE_TO
from codexdht.messages.internal import Call
from codexdht.records import Endpoint
from codexdht.wire.sessions import PeerKey


class PendingCall:
    """One request to a peer.

    call: routing's number; expects: kind of the answer, None if there is none; plaintext: the encoded request;
    sent: when the packet that asked has left (None: not yet); left: packets of the answer still to come, None until the
    first has come; nonces: of the packets that carried or announced it; challenge and handshake: the WHOAREYOU data
    that was answered by this request, and the handshake packet that did so, or b"" where none was needed; again: it has
    left once more, in a newer session than at first.
    """

    __slots__ = (
        "again",
        "call",
        "challenge",
        "deadline",
        "expects",
        "handshake",
        "left",
        "nonces",
        "peer",
        "plaintext",
        "public_key",
        "repeats",
        "request_id",
        "sent",
        "timer",
    )

    def __init__(self, message: Call, request_id: bytes, plaintext: bytes, deadline: float) -> None:
        self.call = message.call
        self.peer = (message.node_id, (message.host, message.port))
        self.public_key = message.public_key
        self.expects = RESPONSE_TO.get(message.kind)
        self.request_id = request_id
        self.plaintext = plaintext
        self.deadline = deadline
        self.sent: float | None = None
        self.left: int | None = None
        self.nonces: list[bytes] = []
        self.challenge = b""
        self.handshake = b""
        self.again = False
        self.repeats = 0
        self.timer = 0


class Calls:
    """All requests in flight: by (peer, request id) for answers, by nonce for WHOAREYOU, and by deadline.

    A request is in the first table from `add` to `end`, and in the second with each of its nonces for as long.
    The heap may hold requests that have ended, or with a timer that is not theirs any more because they have got more
    time; `expired` leaves them out.
    """

    def __init__(self) -> None:
        self._by_request: dict[tuple[PeerKey, bytes], PendingCall] = {}
        self._by_nonce: dict[bytes, PendingCall] = {}
        self._deadlines: list[tuple[float, int, PendingCall]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._by_request)

    def add(self, call: PendingCall) -> None:
        """Take a request into flight."""
        self._by_request[call.peer, call.request_id] = call
        self._push(call)

    def extend(self, call: PendingCall, deadline: float) -> None:
        """Give a request more time."""
        call.deadline = deadline
        self._push(call)

    def _push(self, call: PendingCall) -> None:
        self._pushed += 1
        call.timer = self._pushed
        heappush(self._deadlines, (call.deadline, call.timer, call))

    def note_nonce(self, call: PendingCall, nonce: bytes) -> None:
        """A packet of this nonce has left for the request."""
        call.nonces.append(nonce)
        self._by_nonce[nonce] = call

    def of_answer(self, peer: PeerKey, request_id: bytes) -> PendingCall | None:
        """Return the request that an answer belongs to."""
        return self._by_request.get((peer, request_id))

    def of_nonce(self, nonce: bytes, address: Endpoint) -> PendingCall | None:
        """Return the request that a WHOAREYOU from this address belongs to."""
        call = self._by_nonce.get(nonce)
        return call if call is not None and call.peer[1] == address else None

    def unanswered_since(self, call: PendingCall, before: float = inf) -> list[PendingCall]:
        """Return the other requests to the same peer that have left since this one and before a time, once, and of
        whose answer nothing has come. All in flight are looked at: handshakes are rare, and cost more."""
        first = call.sent
        if first is None:
            return []
        return [
            other
            for other in self._by_request.values()
            if other.peer == call.peer
            and other is not call
            and other.sent is not None
            and first <= other.sent < before
            and other.left is None
            and not other.challenge
            and not other.again
        ]

    def is_pending(self, call: PendingCall) -> bool:
        """Tell whether a request has not ended."""
        return self._by_request.get((call.peer, call.request_id)) is call

    def end(self, call: PendingCall) -> None:
        """Forget a request."""
        del self._by_request[call.peer, call.request_id]
        for nonce in call.nonces:
            del self._by_nonce[nonce]

    def clear(self) -> list[PendingCall]:
        """Forget all requests and return them."""
        calls = list(self._by_request.values())
        self._by_request.clear()
        self._by_nonce.clear()
        self._deadlines.clear()
        return calls

    def expired(self, now: float) -> list[PendingCall]:
        """Return the requests whose time is over; the caller ends them."""
        over: list[PendingCall] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, timer, call = heappop(self._deadlines)
            if timer == call.timer and self.is_pending(call):
                over.append(call)
        return over

    def deadline(self) -> float | None:
        """Return when the next request's time is over; it may have ended by then."""
        return self._deadlines[0][0] if self._deadlines else None
