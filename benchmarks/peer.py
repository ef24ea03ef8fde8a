"""Peers that put load on a node: real keys, real sessions, and packets sealed ahead of time.

They are made of the wire's own parts. What costs time and does not depend on the node's answers is done before the
clock runs, so that the measuring side is not the limit.
"""

from __future__ import annotations

import socket
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag

from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey
from codexdht.messages.discv5 import Kind, Outer, decode_outer, encode_outer, encode_ping
from codexdht.records import Endpoint, SignedPeerRecord, parse_address, sign_record
from codexdht.wire.crypto import SessionKeys, StandardCrypto, derive_keys
from codexdht.wire.handshake import Initiator
from codexdht.wire.packet import MESSAGE_AT, WHOAREYOU, decode_packet
from codexdht.wire.sessions import Session, Sessions
from codexdht.wire.transmit import Transmitter

_ADDRESS: Final = parse_address("/ip4/203.0.113.7/tcp/8070")
"""In the peers' records: a storage client's, so the records are legal provider records, but no routing entries."""
_ATTEMPTS: Final = 5
_NEVER_RENEWED: Final = 2**32 - 1


class Target(NamedTuple):
    """The node under load."""

    record: SignedPeerRecord
    address: Endpoint


class _AheadCrypto(StandardCrypto):
    """Real cryptography for one handshake, whose ephemeral key and shared point were made ahead."""

    def __init__(self, target: Target, entropy: Entropy) -> None:
        self._ephemeral = PrivateKey.generate(entropy)
        self._secret = self._ephemeral.ecdh(target.record.public_key)

    def ephemeral(self, entropy: Entropy) -> PrivateKey:  # noqa: ARG002
        return self._ephemeral

    def keys(
        self,
        own: PrivateKey,  # noqa: ARG002
        other: bytes,  # noqa: ARG002
        challenge: bytes,
        initiator: bytes,
        recipient: bytes,
    ) -> SessionKeys:
        return derive_keys(self._secret, challenge, initiator, recipient)


class Peer:
    """One identity and its session with the target."""

    def __init__(self, target: Target, entropy: Entropy) -> None:
        key = PrivateKey.generate(entropy)
        crypto = _AheadCrypto(target, entropy)
        self.record = sign_record(key, 1, [_ADDRESS])
        self._target = target
        self._entropy = entropy
        self._mask = crypto.mask(self.record.node_id)
        sessions = Sessions(1)
        self._transmitter = Transmitter(self.record.node_id, sessions, crypto, entropy, _NEVER_RENEWED)
        self._initiator = Initiator(key, self._transmitter, self.record)
        self._session: Session | None = None

    def hello(self) -> bytes:
        """Return a packet that the target cannot read, so that it asks who this is."""
        mask = self._transmitter.crypto.mask(self._target.record.node_id)
        self._transmitter.send_random(mask, self._target.address)
        return self._transmitter.datagrams.pop()[0]

    def answer(self, challenge: bytes, plaintext: bytes) -> bytes:
        """Return the handshake packet, with a message in it, that answers a WHOAREYOU. Raises DecodeError."""
        packet = decode_packet(self._mask, challenge)
        if packet.flag != WHOAREYOU:
            raise DecodeError("not a challenge")
        peer = (self._target.record.node_id, self._target.address)
        self._session, authdata = self._initiator.answer(peer, self._target.record.public_key, packet, 0.0)
        return self._transmitter.seal_handshake(self._session, authdata, plaintext)

    def connect(self, sock: socket.socket) -> None:
        """Make a session. Raises ConnectionError when the target does not answer."""
        for _ in range(_ATTEMPTS):
            try:
                sock.send(self.hello())
                sock.send(self.answer(sock.recv(2048), self.ping(b"hello")))
                if self.open(sock.recv(2048))[1] == b"hello":
                    return
            except (BlockingIOError, DecodeError):
                continue
        raise ConnectionError("the node does not answer a handshake")

    def seal(self, kind: int, request_id: bytes, body: bytes) -> bytes:
        """Return a request of the session, as a packet."""
        assert self._session is not None, "connect first"
        self._transmitter.seal(self._session, encode_outer(kind, request_id, body, False))
        return self._transmitter.datagrams.pop()[0]

    def open(self, data: bytes) -> Outer:
        """Return the message in a packet of the session. Raises DecodeError when it is none."""
        assert self._session is not None, "connect first"
        packet = decode_packet(self._mask, data)
        try:
            return decode_outer(self._session.opener.decrypt(packet.nonce, data[MESSAGE_AT:], packet.bound))
        except InvalidTag:
            raise DecodeError("undecryptable") from None

    def ping(self, request_id: bytes) -> bytes:
        """Return the plaintext of a PING."""
        return encode_outer(Kind.PING, request_id, encode_ping(self.record.seq), False)
