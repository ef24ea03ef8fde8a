"""The wire actor's logic: packets, sessions, handshakes, calls, and this node's records (wire.md, behaviour.md).

It opens and seals packets and reads the outer message only; PING and TALK_REQ it answers itself, every other request
goes to the actor that serves it, with a ticket (node id, address, request id) that the answer brings back.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag

from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey, node_id_of_public_key
from codexdht.messages.discv5 import (
    MAX_PLAINTEXT,
    RESPONSE_KINDS,
    Kind,
    Outer,
    Pong,
    decode_outer,
    decode_ping,
    decode_talk_request,
    encode_outer,
    encode_pong,
    encode_talk_response,
)
from codexdht.messages.internal import (
    Actor,
    Call,
    Done,
    Hello,
    Message,
    PeerReply,
    PeerRequest,
    PeerSeen,
    Stats,
)
from codexdht.messages.machine import earlier
from codexdht.records import Endpoint, RecordCache
from codexdht.wire.caller import Caller
from codexdht.wire.challenges import Challenges
from codexdht.wire.crypto import Crypto, StandardCrypto
from codexdht.wire.handshake import Accepted, Initiator, Recipient
from codexdht.wire.identities import Identities
from codexdht.wire.limits import Limits
from codexdht.wire.local import LocalState, Save, keep_nothing
from codexdht.wire.packet import (
    MESSAGE_AT,
    MIN_PACKET,
    ORDINARY,
    ORDINARY_HEADER,
    ORDINARY_SIZE,
    ORDINARY_START,
    WHOAREYOU,
    decode_begun,
)
from codexdht.wire.presence import Presence
from codexdht.wire.sessions import Session, Sessions
from codexdht.wire.settings import WireSettings
from codexdht.wire.talk import ECHO, TalkHandler, TalkHandlers, echo
from codexdht.wire.transmit import Transmitter

_FORWARD_TO: Final[dict[int, Actor]] = {
    Kind.FIND_NODE: Actor.ROUTING,
    Kind.FIND_NODE_FAST: Actor.ROUTING,
    Kind.ADD_PROVIDER: Actor.STORE,
    Kind.GET_PROVIDERS: Actor.STORE,
}
_USUAL_PING: Final = 11
"""The longest body of a PING without unknown fields; 60 kB of those would fit beside it, and be kept."""
_PEERS_TOLD: Final = 256
"""As many as a routing table of 16 buckets holds."""
_REQUEST_SECONDS: Final = 1.0
"""A peer gives up on a request after this time, so it need not be served later."""


class WireMachine(Presence):
    """See the module, and `messages.machine.Machine` for what a shell does with it.

    The shell empties `datagrams` after every turn; what it does with sockets says `Presence`.
    """

    def __init__(
        self,
        key: PrivateKey,
        state: LocalState,
        settings: WireSettings,
        entropy: Entropy,
        crypto: Crypto | None = None,
        *,
        save: Save = keep_nothing,
    ) -> None:
        super().__init__(key, state, settings, save)
        self.node_id = node_id_of_public_key(key.public_key)
        self._talk = TalkHandlers(self.outbox, self.counters)
        if settings.talk_echo:
            self._talk.register(ECHO, echo)
        self._build(key, entropy, StandardCrypto() if crypto is None else crypto)
        self._handlers |= {Call: self._call, PeerReply: self._reply, Stats: self._stats}

    def _build(self, key: PrivateKey, entropy: Entropy, crypto: Crypto) -> None:
        settings, counters = self._settings, self.counters
        self._mask = crypto.mask(self.node_id)
        self._limits = Limits(settings, counters)
        self._identities = Identities(settings.identities)
        self._records = RecordCache(settings.records)
        self._sessions = Sessions(settings.sessions)
        self._transmitter = Transmitter(
            self.node_id, self._sessions, crypto, entropy, settings.session_packets
        )
        self.datagrams = self._transmitter.datagrams
        self._challenges = Challenges(settings, self._transmitter, counters)
        self._initiator = Initiator(key, self._transmitter, self._local.record)
        self._recipient = Recipient(key, self._challenges, self._identities, self._records, self._transmitter)
        self._caller = Caller(settings, self._transmitter, self._initiator, self.outbox, counters)

    # Datagrams ------------------------------------------------------------------------------------------------

    def receive_datagram(self, data: bytes, address: Endpoint, now: float) -> None:
        """Take one datagram. `address` is the sender's; whatever the bytes are, nothing is raised.

        Ordinary packets of a session are read here without the steps of `decode_begun`, as they are nearly all
        packets.
        """
        known = address in self._sessions.addresses or address in self._caller.awaited
        if not self._limits.admit(address, known, now):
            return
        if len(data) < MIN_PACKET:
            self._bad("bad_packet_size", address, now)
            return
        mask = self._mask
        mask.reset_nonce(data[:16])
        header = mask.update(data[16:MESSAGE_AT])
        if header[:9] != ORDINARY_START or header[21:23] != ORDINARY_SIZE or len(header) != ORDINARY_HEADER:
            self._receive_rare(data, header, address, now)
            return
        nonce = header[9:21]
        session = self._sessions.get((header[23:], address))
        if session is None:
            self._unreadable(header[23:], nonce, address, now)
            return
        try:
            plaintext = session.opener.decrypt(nonce, data[MESSAGE_AT:], data[:16] + header)
        except InvalidTag:
            rest = session.open_rare(nonce, data[MESSAGE_AT:], data[:16] + header, now)
            if rest is None:
                self.counters["undecryptable"] += 1
                self._unreadable(header[23:], nonce, address, now)
                return
            plaintext = rest
        else:
            if not session.is_settled:
                session.prove(now)
        self._read(session, plaintext, now)

    def _receive_rare(self, data: bytes, begun: bytes, address: Endpoint, now: float) -> None:
        """Take a WHOAREYOU, a handshake, or nonsense; see `decode_begun`."""
        try:
            packet = decode_begun(self._mask, data, begun)
            if packet.flag == WHOAREYOU:
                self._caller.whoareyou(packet, address, now)
            elif packet.flag != ORDINARY:
                self._accepted(self._recipient.accept(packet, address, now), now)
        except DecodeError as error:
            self._bad(_counter(error), address, now)

    def _bad(self, reason: str, address: Endpoint, now: float) -> None:
        self.counters[reason] += 1
        self._limits.bad(address, now)

    def _unreadable(self, source: bytes, nonce: bytes, address: Endpoint, now: float) -> None:
        """Ask the sender of a packet that no session reads who it is. Its first such packet is how a handshake begins;
        only those that follow count against it."""
        peer = (source, address)
        if self._challenges.note_unreadable(peer, now):
            self._limits.bad(address, now)
        if self._limits.may_challenge(address, now):
            self._challenges.send(peer, nonce, self._identities.seq(source, address), now)

    def _accepted(self, accepted: Accepted, now: float) -> None:
        """A peer's handshake has succeeded; its message comes with it."""
        session, plaintext, unreadable = accepted
        self.counters["handshakes_accepted"] += 1
        self._limits.forgive(session.address, unreadable, now)
        try:
            message = decode_outer(plaintext)
        except DecodeError as error:
            self.counters[_counter(error)] += 1
            message = None
        if message is not None:
            session.client_mode = message[3]
        self._seen(session)
        self._caller.session_made(session, now)
        if message is not None:
            self._serve(session, message, now)

    def _seen(self, session: Session) -> None:
        host, port = session.address
        record = self._identities.record(session.node_id)
        self.outbox.send(Actor.ROUTING, PeerSeen(session.node_id, host, port, record, session.client_mode))

    # Messages of peers ----------------------------------------------------------------------------------------

    def _read(self, session: Session, plaintext: bytes, now: float) -> None:
        """Take a decrypted message. Bodies are decoded here only where they are served here."""
        try:
            self._serve(session, decode_outer(plaintext), now)
        except DecodeError as error:
            self.counters[_counter(error)] += 1

    def _serve(self, session: Session, message: Outer, now: float) -> None:
        """Take the message of a peer. Raises DecodeError for a body that is read here and is bad."""
        kind, request_id, body, client_mode = message
        if client_mode != session.client_mode:
            session.client_mode = client_mode
            self._seen(session)
        if kind == 0x01:
            self._ping(session, request_id, body)
        elif kind in RESPONSE_KINDS:
            self._caller.answer(session, message, now)
        elif kind == 0x05:
            self._talk_request(session, request_id, body)
        else:
            self._forward(session, message, now)

    def _ping(self, session: Session, request_id: bytes, body: bytes) -> None:
        """Answer a PING. Its body and the PONG's are the same from one to the next, and kept in the session."""
        if body != session.ping:
            decode_ping(body)
            session.ping = body if len(body) <= _USUAL_PING else None
        if not session.pong:
            host, port = session.address
            session.pong = encode_pong(Pong(self._local.record.seq, host, port))
        self.counters["served_ping"] += 1
        self._answer(session, Kind.PONG, request_id, session.pong)

    def _talk_request(self, session: Session, request_id: bytes, body: bytes) -> None:
        protocol, request = decode_talk_request(body)
        response = self._talk.answer(session.node_id, session.address, protocol, request)
        self.counters["served_talk"] += 1
        self._answer(session, Kind.TALK_RESP, request_id, encode_talk_response(response))

    def _answer(self, session: Session, kind: int, request_id: bytes, body: bytes) -> None:
        plaintext = encode_outer(kind, request_id, body, self._settings.client_mode)
        if len(plaintext) > MAX_PLAINTEXT:
            self.counters["reply_too_large"] += 1
            return
        self._transmitter.seal(session, plaintext)

    def _forward(self, session: Session, message: Outer, now: float) -> None:
        kind, request_id, body, client_mode = message
        host, port = session.address
        deadline = now + _REQUEST_SECONDS
        request = PeerRequest(session.node_id, host, port, request_id, kind, body, client_mode, deadline)
        self.outbox.send(_FORWARD_TO[kind], request)

    def _reply(self, reply: PeerReply, _now: float) -> None:
        session = self._sessions.get((reply.node_id, (reply.host, reply.port)))
        if session is None:
            self.counters["reply_without_session"] += 1
            return
        for body in reply.bodies:
            self._answer(session, reply.kind, reply.request_id, body)

    def register_talk(self, protocol: bytes, handler: TalkHandler) -> None:
        """Give the TALK_REQs of a protocol to this handler (see `talk.TalkHandler`)."""
        self._talk.register(protocol, handler)

    # Messages of actors ---------------------------------------------------------------------------------------

    def handle(self, message: Message, now: float) -> None:
        """See Machine."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.counters["unexpected_message"] += 1
            return
        handler(message, now)

    def tick(self, now: float) -> None:
        """See Machine."""
        super().tick(now)
        self._caller.tick(now)

    def deadline(self) -> float | None:
        """See Machine."""
        return earlier(super().deadline(), self._caller.deadline())

    def stop(self, now: float) -> None:  # noqa: ARG002
        """See Machine."""
        self._caller.close()

    def _hello(self, hello: Hello, now: float) -> None:
        super()._hello(hello, now)
        self._meet_routing(hello)

    def _meet_routing(self, hello: Hello) -> None:
        """Forget the calls of a routing actor that was here before, and tell a new one with whom there are sessions:
        without a saved table or bootstrap nodes it would know nobody, and a peer makes no second handshake."""
        if hello.actor == Actor.ROUTING:
            self._caller.forget()
            for session in self._sessions.recent(_PEERS_TOLD):
                self._seen(session)

    def record_changed(self) -> None:
        """See Presence."""
        self._initiator.record = self._local.record
        self._sessions.forget_pongs()

    def closed(self) -> None:
        """See Presence."""
        self._caller.close()

    def _call(self, call: Call, now: float) -> None:
        if self._bound is None:
            self._caller.fail_closed(call)
        else:
            self._caller.call(call, now)

    def _stats(self, stats: Stats, _now: float) -> None:
        gauges = {
            "sessions": len(self._sessions),
            "sessions_evicted": self._sessions.evicted,
            "identities": len(self._identities),
            "challenges": len(self._challenges),
            "calls": len(self._caller.calls),
            "sources": len(self._limits),
            "record_checks": self._records.checks,
        }
        value = {"counters": dict(self.counters), "gauges": gauges}
        self.outbox.send(Actor(stats.asker), Done(stats.request, value))


def _counter(error: DecodeError) -> str:
    return str(error).replace(" ", "_")
