"""Challenges: the WHOAREYOU packets of ours that a handshake may still answer (wire.md section 4)."""

from __future__ import annotations

from collections import Counter

from codexdht.wire.crypto import Mask
from codexdht.wire.packet import (
    IV_SIZE,
    WHOAREYOU,
    encode_header,
    encode_packet,
    encode_whoareyou_auth,
)
from codexdht.wire.sessions import PeerKey
from codexdht.wire.settings import WireSettings
from codexdht.wire.transmit import Transmitter

_ID_NONCE_SIZE = 16
_MAX_ATTEMPTS = 3


class Challenge:
    """One WHOAREYOU. `data` is its iv and unmasked header, `mask` that of packets to its peer; `since` is when it was
    sent first; `resends` and `attempts` count how often it was sent again, and how many handshakes that answer it have
    failed; `unreadable` the packets of its peer that could not be read since."""

    __slots__ = ("attempts", "data", "expires", "mask", "packet", "resends", "since", "unreadable")

    def __init__(self, data: bytes, mask: Mask, packet: bytes, since: float, expires: float) -> None:
        self.data = data
        self.mask = mask
        self.packet = packet
        self.since = since
        self.expires = expires
        self.resends = 0
        self.attempts = 0
        self.unreadable = 0


class Challenges:
    """Open challenges by peer, one each, oldest first: all live equally long, so the first is the next to expire.
    At the limit newcomers are refused."""

    def __init__(self, settings: WireSettings, transmitter: Transmitter, counters: Counter[str]) -> None:
        self._settings = settings
        self._transmitter = transmitter
        self._counters = counters
        self._open: dict[PeerKey, Challenge] = {}

    def __len__(self) -> int:
        return len(self._open)

    def note_unreadable(self, peer: PeerKey, now: float) -> bool:
        """A packet of this peer could not be read; tell whether it has been asked who it is before."""
        challenge = self.get(peer, now)
        if challenge is None:
            return False
        challenge.unreadable += 1
        return True

    def send(self, peer: PeerKey, nonce: bytes, record_seq: int, now: float) -> None:
        """Challenge a peer whose packet of this nonce could not be read; its open challenge is sent again."""
        challenge = self._open.get(peer)
        if challenge is None or challenge.expires <= now:
            challenge = self._mint(peer, nonce, record_seq, now)
        elif challenge.resends < self._settings.challenge_resends:
            challenge.resends += 1
        else:
            self._counters["refused_challenge_resend"] += 1
            return
        if challenge is not None:
            self._counters["sent_whoareyou"] += 1
            self._transmitter.send(challenge.packet, peer[1])

    def _mint(self, peer: PeerKey, nonce: bytes, record_seq: int, now: float) -> Challenge | None:
        self._expire(now)
        if len(self._open) >= self._settings.challenges:
            self._counters["refused_challenges_full"] += 1
            return None
        chance = self._transmitter.random(IV_SIZE + _ID_NONCE_SIZE)
        iv = chance[:IV_SIZE]
        header = encode_header(WHOAREYOU, nonce, encode_whoareyou_auth(chance[IV_SIZE:], record_seq))
        mask = self._transmitter.crypto.mask(peer[0])
        packet = encode_packet(mask, iv, header, b"")
        challenge = Challenge(iv + header, mask, packet, now, now + self._settings.challenge_seconds)
        self._open[peer] = challenge
        return challenge

    def _expire(self, now: float) -> None:
        while self._open:
            peer, challenge = next(iter(self._open.items()))
            if challenge.expires > now:
                return
            del self._open[peer]

    def get(self, peer: PeerKey, now: float) -> Challenge | None:
        """Return the open challenge of a peer."""
        challenge = self._open.get(peer)
        return challenge if challenge is not None and challenge.expires > now else None

    def use(self, peer: PeerKey) -> None:
        """A handshake has answered the challenge: it is gone."""
        del self._open[peer]

    def fail(self, peer: PeerKey) -> None:
        """A handshake that answers the challenge is wrong. Another may follow, as anybody may have sent this one, but
        not many: each costs a signature check."""
        challenge = self._open[peer]
        challenge.attempts += 1
        if challenge.attempts >= _MAX_ATTEMPTS:
            del self._open[peer]
