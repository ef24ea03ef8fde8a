"""Both sides of a handshake (wire.md section 4). Each turns a challenge into a session, or into nothing."""

from __future__ import annotations

from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey
from codexdht.records import Endpoint, RecordCache, SignedPeerRecord
from codexdht.wire.challenges import Challenges
from codexdht.wire.crypto import Aead, SessionKeys, decode_ephemeral, encode_ephemeral
from codexdht.wire.identities import Identities
from codexdht.wire.packet import HandshakeAuth, Packet, decode_handshake_auth, encode_handshake_auth
from codexdht.wire.sessions import PeerKey, Session
from codexdht.wire.transmit import Transmitter


class Initiator:
    """Answers challenges of peers. `record` is this node's DHT record, kept current by the machine."""

    def __init__(self, key: PrivateKey, transmitter: Transmitter, record: SignedPeerRecord) -> None:
        self._key = key
        self._sessions = transmitter.sessions
        self._transmitter = transmitter
        self.record = record

    def answer(self, peer: PeerKey, public_key: bytes, packet: Packet, now: float) -> tuple[Session, bytes]:
        """Return a new session with a peer and the authdata of the handshake that shows it to the peer.

        `packet` is its WHOAREYOU. Raises DecodeError when the peer's public key is not on the curve.
        """
        crypto = self._transmitter.crypto
        own_id, challenge = self._transmitter.node_id, packet.bound
        ephemeral = crypto.ephemeral(self._transmitter.entropy)
        encoded = encode_ephemeral(ephemeral)
        keys = crypto.keys(ephemeral, public_key, challenge, own_id, peer[0])
        signature = crypto.sign_id(self._key, challenge, encoded, peer[0])
        known_seq = int.from_bytes(packet.authdata[16:24], "big")
        record = self.record.encoded if known_seq < self.record.seq else b""
        authdata = encode_handshake_auth(HandshakeAuth(own_id, signature, encoded, record))
        sealer, opener = crypto.aead(keys.initiator), crypto.aead(keys.recipient)
        session = self._sessions.add(peer, crypto.mask(peer[0]), sealer, opener, now, asked=None)
        return session, authdata


class Accepted(NamedTuple):
    """What a handshake of a peer brings: the session, the decrypted message in the packet, and how many packets that
    could not be read came between challenge and handshake."""

    session: Session
    plaintext: bytes
    unreadable: int


class Recipient:
    """Checks handshakes of peers against the challenges that they answer."""

    def __init__(
        self,
        key: PrivateKey,
        challenges: Challenges,
        identities: Identities,
        records: RecordCache,
        transmitter: Transmitter,
    ) -> None:
        self._key = key
        self._sessions = transmitter.sessions
        self._challenges = challenges
        self._identities = identities
        self._records = records
        self._transmitter = transmitter

    def accept(self, packet: Packet, address: Endpoint, now: float) -> Accepted:
        """Return the session that a handshake packet opens, and what belongs to it. The record in it is then known.

        Checks in the order of wire.md. Raises DecodeError for every failure; nothing has changed then but the
        attempts that the challenge has left.
        """
        auth = decode_handshake_auth(packet.authdata)
        peer = (auth.source, address)
        challenge = self._challenges.get(peer, now)
        if challenge is None:
            raise DecodeError("handshake without challenge")
        try:
            record = self._check_record(auth)
            keys = self._check_identity(auth, record, challenge.data)
            opener = self._transmitter.crypto.aead(keys.initiator)
            plaintext = _decrypt(opener, packet)
        except DecodeError:
            self._challenges.fail(peer)
            raise
        self._challenges.use(peer)
        if record is not None:
            self._identities.learn(record)
        sealer = self._transmitter.crypto.aead(keys.recipient)
        session = self._sessions.add(peer, challenge.mask, sealer, opener, now, asked=challenge.since)
        return Accepted(session, plaintext, challenge.unreadable)

    def _check_record(self, auth: HandshakeAuth) -> SignedPeerRecord | None:
        if not auth.record:
            return None
        try:
            record = self._records.decode(auth.record)
        except DecodeError:
            raise DecodeError("handshake with bad record") from None
        if record.node_id != auth.source:
            raise DecodeError("handshake with foreign record")
        return record

    def _check_identity(
        self, auth: HandshakeAuth, record: SignedPeerRecord | None, challenge: bytes
    ) -> SessionKeys:
        public_key = record.public_key if record is not None else self._identities.public_key(auth.source)
        if public_key is None:
            raise DecodeError("handshake of unknown key")
        crypto, own_id = self._transmitter.crypto, self._transmitter.node_id
        if not crypto.verify_id(public_key, auth.signature, challenge, auth.ephemeral, own_id):
            raise DecodeError("handshake with bad signature")
        ephemeral = decode_ephemeral(auth.ephemeral)
        return crypto.keys(self._key, ephemeral, challenge, auth.source, own_id)


def _decrypt(opener: Aead, packet: Packet) -> bytes:
    try:
        return opener.decrypt(packet.nonce, packet.message, packet.bound)
    except InvalidTag:
        raise DecodeError("handshake undecryptable") from None
