"""Serving of calls: requests to peers, the handshakes that they need, and their answers (wire.md sections 3 to 5)."""

from __future__ import annotations

from collections import Counter

from codexdht.errors import DecodeError
from codexdht.messages.discv5 import (
    MAX_PLAINTEXT,
    Kind,
    Outer,
    encode_outer,
    encode_ping,
    records_total,
)
from codexdht.messages.internal import Actor, Call, CallAnswer, CallFailed, CallSent
from codexdht.messages.machine import Outbox, earlier
from codexdht.records import Endpoint
from codexdht.wire.calls import Calls, PendingCall
from codexdht.wire.handshake import Initiator
from codexdht.wire.packet import Packet
from codexdht.wire.sessions import PeerKey, Session
from codexdht.wire.settings import WireSettings
from codexdht.wire.transmit import Transmitter, fits_handshake

_REQUEST_ID_SIZE = 8
_SEVERAL_PACKETS = (Kind.NODES, Kind.PROVIDERS)


class Caller:
    """Requests to peers from `call` to their answer or failure.

    A request to a peer without a session waits in `_waiting`: the first one sends a random packet, and all wait for
    the session, whoever's handshake makes it. The wait of a peer ends after `call_seconds`; as all waits are
    equally long, the first in the table is the next to end. `awaited` counts those peers by endpoint: their packets are
    wanted, however many come from strangers.
    """

    def __init__(
        self,
        settings: WireSettings,
        transmitter: Transmitter,
        initiator: Initiator,
        outbox: Outbox,
        counters: Counter[str],
    ) -> None:
        self._settings = settings
        self._sessions = transmitter.sessions
        self._transmitter = transmitter
        self._initiator = initiator
        self._outbox = outbox
        self._counters = counters
        self._renew_at = settings.session_packets // 2
        """Packets of a session after which a request makes a new one; answers may use the other half meanwhile."""
        self.calls = Calls()
        self._waiting: dict[PeerKey, tuple[float, list[PendingCall]]] = {}
        self.awaited: Counter[Endpoint] = Counter()

    def call(self, message: Call, now: float) -> None:
        """Send a request, or let it wait for a session."""
        if len(self.calls) >= self._settings.calls:
            self._counters["refused_calls_full"] += 1
            self._fail(message.call, "busy")
            return
        call = self._pending(message, now)
        if len(call.plaintext) > MAX_PLAINTEXT:
            self._fail(message.call, "too large")
            return
        session = self._sessions.get(call.peer)
        if session is not None and session.sent < self._renew_at:
            self.calls.add(call)
            self._send(call, session, now)
        else:
            self._wait(call, now)

    def _pending(self, message: Call, now: float) -> PendingCall:
        request_id = self._transmitter.random(_REQUEST_ID_SIZE)
        plaintext = encode_outer(message.kind, request_id, message.body, self._settings.client_mode)
        deadline = min(message.deadline, now + self._settings.call_seconds)
        return PendingCall(message, request_id, plaintext, deadline)

    def _send(self, call: PendingCall, session: Session, now: float) -> None:
        nonce = self._transmitter.seal(session, call.plaintext)
        self.calls.note_nonce(call, nonce)
        self._sent(call, now)

    def _sent(self, call: PendingCall, now: float) -> None:
        if call.expects is None and call.sent is None:
            self._outbox.send(Actor.ROUTING, CallSent(call.call))
        call.sent = now

    def _wait(self, call: PendingCall, now: float) -> None:
        waiting = self._waiting.get(call.peer)
        if waiting is None:
            self._waiting[call.peer] = (now + self._settings.call_seconds, [call])
            self.awaited[call.peer[1]] += 1
            mask = self._transmitter.crypto.mask(call.peer[0])
            self.calls.add(call)
            self.calls.note_nonce(call, self._transmitter.send_random(mask, call.peer[1]))
        elif len(waiting[1]) < self._settings.calls_waiting:
            waiting[1].append(call)
            self.calls.add(call)
        else:
            self._counters["refused_calls_waiting"] += 1
            self._fail(call.call, "busy")

    def session_made(self, session: Session, now: float) -> None:
        """Send what has waited for a session with this peer."""
        for call in self._take_waiting(session.peer):
            if self.calls.is_pending(call) and call.sent is None:
                self._send(call, session, now)

    def whoareyou(self, packet: Packet, address: Endpoint, now: float) -> None:
        """Answer a challenge for a request of ours, or send the same handshake once more."""
        call = self.calls.of_nonce(packet.nonce, address)
        if call is None:
            self._counters["whoareyou_unexpected"] += 1
            return
        is_new = call.challenge != packet.bound
        if is_new and not call.handshake:
            self._answer_challenge(call, packet, now)
        elif not is_new and call.handshake and call.repeats < self._settings.challenge_resends:
            call.repeats += 1
            self._transmitter.send(call.handshake, address)
        else:
            self._counters["whoareyou_repeated"] += 1

    def _answer_challenge(self, call: PendingCall, packet: Packet, now: float) -> None:
        """Send a handshake with the request that the challenge is about.

        There is a session already where another handshake has come between: the request goes out in that, if it has not
        yet, and so do those behind it. A second handshake would be lost at a deployed peer, whose timer for the first
        challenge deletes the next.
        """
        session = self._sessions.get(call.peer)
        if session is None or call.sent is None or session.since <= call.sent:
            self._handshake(call, packet, now)
        else:
            call.challenge = packet.bound
            self._send_again([call, *self.calls.unanswered_since(call, session.since)], session, now)

    def _handshake(self, call: PendingCall, packet: Packet, now: float) -> None:
        """Make a session as its initiator. A request too large for the handshake packet follows in one of its own, and
        so do requests that left in a session that the peer has forgotten: it has asked about the first of them only."""
        unread = self.calls.unanswered_since(call)
        try:
            session, authdata = self._initiator.answer(call.peer, call.public_key, packet, now)
        except DecodeError:
            self.calls.end(call)
            self._fail(call.call, "unreachable")
            return
        fits = fits_handshake(authdata, call.plaintext)
        plaintext = call.plaintext if fits else self._ping()
        call.challenge = packet.bound
        call.handshake = self._transmitter.seal_handshake(session, authdata, plaintext)
        self._transmitter.send(call.handshake, call.peer[1])
        if fits:
            self._sent(call, now)
        else:
            self._send(call, session, now)
        self._counters["handshakes_initiated"] += 1
        self._send_again(unread, session, now)
        self.session_made(session, now)

    def _send_again(self, calls: list[PendingCall], session: Session, now: float) -> None:
        """Send what left in a session that the peer has forgotten. None goes along with others twice: a peer that asks
        about each of many would have all of them sent again for each."""
        for call in calls:
            call.again = True
            self._send(call, session, now)

    def _ping(self) -> bytes:
        request_id = self._transmitter.random(_REQUEST_ID_SIZE)
        return encode_outer(
            Kind.PING, request_id, encode_ping(self._initiator.record.seq), self._settings.client_mode
        )

    def answer(self, session: Session, message: Outer, now: float) -> None:
        """Take an answer of a peer, and hand it on if it belongs to a request. Raises DecodeError if it is one of
        several packets that does not say of how many."""
        kind, request_id, body, client_mode = message
        call = self.calls.of_answer(session.peer, request_id)
        if call is None or call.expects != kind:
            self._counters["response_unmatched"] += 1
            return
        if kind in _SEVERAL_PACKETS:
            self._count_packet(call, body, now)
        else:
            self.calls.end(call)
        rtt = 0.0 if call.sent is None else now - call.sent
        self._outbox.send(Actor.ROUTING, CallAnswer(call.call, kind, body, rtt, client_mode))

    def _count_packet(self, call: PendingCall, body: bytes, now: float) -> None:
        """End a request with the last packet of its answer. Raises DecodeError if the packet does not say how many."""
        total = records_total(body)
        if call.left is None:
            call.left = max(1, min(total, self._settings.answer_packets))
        call.left -= 1
        if call.left:
            self.calls.extend(call, now + self._settings.call_seconds)
        else:
            self.calls.end(call)

    def tick(self, now: float) -> None:
        """Fail what has waited too long."""
        while self._waiting:
            peer, (deadline, _) = next(iter(self._waiting.items()))
            if deadline > now:
                break
            calls = self._take_waiting(peer)
            self._time_out([call for call in calls if self.calls.is_pending(call) and call.sent is None])
        self._time_out(self.calls.expired(now))

    def _take_waiting(self, peer: PeerKey) -> list[PendingCall]:
        """Return the requests that wait for a session with a peer, which do so no more."""
        waiting = self._waiting.pop(peer, None)
        if waiting is None:
            return []
        self.awaited[peer[1]] -= 1
        if not self.awaited[peer[1]]:
            del self.awaited[peer[1]]
        return waiting[1]

    def _time_out(self, calls: list[PendingCall]) -> None:
        for call in calls:
            self.calls.end(call)
            self._hand_over(call)
            if call.expects is not None or call.sent is None:
                self._counters["calls_timed_out"] += 1
                self._fail(call.call, "timeout")

    def _hand_over(self, call: PendingCall) -> None:
        """If this request's random packet was to bring a session, let the next one waiting answer the challenge."""
        waiting = self._waiting.get(call.peer)
        if waiting is None or not call.nonces:
            return
        heir = next((heir for heir in waiting[1] if self.calls.is_pending(heir)), None)
        if heir is not None:
            self.calls.note_nonce(heir, call.nonces[0])

    def deadline(self) -> float | None:
        """Return when `tick` has something to do, or None."""
        wait, _ = next(iter(self._waiting.values()), (None, []))
        return earlier(wait, self.calls.deadline())

    def close(self) -> None:
        """The socket is closing: fail everything."""
        self._waiting.clear()
        self.awaited.clear()
        for call in self.calls.clear():
            self._fail(call.call, "closed")

    def forget(self) -> None:
        """Routing has lost its requests: nobody wants the answers."""
        self._waiting.clear()
        self.awaited.clear()
        self.calls.clear()

    def fail_closed(self, message: Call) -> None:
        """Refuse a request while there is no socket."""
        self._fail(message.call, "closed")

    def _fail(self, call: int, reason: str) -> None:
        self._outbox.send(Actor.ROUTING, CallFailed(call, reason))
