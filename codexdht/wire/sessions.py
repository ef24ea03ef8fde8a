"""Sessions: the keys shared with a peer at an address, in a bounded table (wire.md sections 3 and 4)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from codexdht.records import Endpoint
from codexdht.wire.crypto import Aead, Mask

PeerKey = tuple[bytes, Endpoint]
"""Whom a session is bound to: node id, and the host and port that the packets come from."""

_PROVEN_AFTER = 1.0


class _Pair(NamedTuple):
    """The ciphers of one handshake, and how many packets were sealed with the second."""

    opener: Aead
    sealer: Aead
    sent: int


class Session:
    """Keys and ciphers shared with one peer, kept because making them costs more than using them.

    Invariants. `sent` counts the packets sealed with `sealer`; each nonce starts with it, so none repeats. `previous`
    are the ciphers of the handshake before, which the peer may still use: two handshakes cross, a packet of before the
    handshake is under way, or our handshake was lost and the peer has never heard of it. `heard` tells whether `opener`
    has read an ordinary packet since `since`. When `opener` reads one a second or more after `since`, `previous` goes.
    `doubted` is since when nothing speaks for `opener`: since `since`, or since `previous` was the one to read after
    it; None when `opener` has read the last packet. When `previous` reads one a second or more after that, the two
    change places: what this node sends would not be read otherwise. `begun_here` tells who began the handshake of
    `opener` and `sealer`, `is_settled` that `opener` has been heard and there is no `previous`: that is nearly always
    so, and a packet changes nothing then.
    """

    __slots__ = (
        "address",
        "begun_here",
        "client_mode",
        "doubted",
        "heard",
        "is_settled",
        "mask",
        "node_id",
        "opener",
        "peer",
        "ping",
        "pong",
        "previous",
        "sealer",
        "sent",
        "since",
    )

    def __init__(
        self, peer: PeerKey, mask: Mask, sealer: Aead, opener: Aead, now: float, *, begun_here: bool
    ) -> None:
        self.peer = peer
        self.node_id, self.address = peer
        self.mask = mask
        self.sealer = sealer
        self.opener = opener
        self.previous: _Pair | None = None
        self.since = now
        self.heard = False
        self.doubted: float | None = now
        self.is_settled = False
        self.begun_here = begun_here
        self.sent = 0
        self.client_mode = False
        self.ping: bytes | None = None
        """Body of the last PING that decoded: the same body need not be decoded again."""
        self.pong = b""
        """Body of the PONG to this address, or empty when it must be made anew."""

    def open_rare(self, nonce: bytes, message: bytes, bound: bytes, now: float) -> bytes | None:
        """Return the plaintext of a message that `opener` cannot read, if `previous` can."""
        if self.previous is None:
            return None
        try:
            plaintext = self.previous.opener.decrypt(nonce, message, bound)
        except InvalidTag:
            return None
        if self.doubted is None:
            self.doubted = now
        elif now >= self.doubted + _PROVEN_AFTER:
            current = _Pair(self.opener, self.sealer, self.sent)
            (self.opener, self.sealer, self.sent), self.previous = self.previous, current
            self.since = self.doubted = now
            self.heard = self.begun_here = False
        return plaintext

    def is_on_its_way(self, asked: float, now: float) -> bool:
        """Tell whether the peer may not have had our handshake when it answered a challenge that left at `asked`: ours
        left then or later, a second ago or less, and we have heard nothing since."""
        is_new = not self.heard and now < self.since + _PROVEN_AFTER
        return self.begun_here and is_new and asked <= self.since

    def prove(self, now: float) -> None:
        """`opener` has read a packet: forget `previous` when it is time."""
        self.heard = True
        self.doubted = None
        if now >= self.since + _PROVEN_AFTER:
            self.previous = None
        self.is_settled = self.previous is None


class Sessions:
    """All sessions by peer; at the limit the least recently used leaves. `addresses` counts them by endpoint, which
    tells before any cryptography whether a packet may belong to one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sessions: OrderedDict[PeerKey, Session] = OrderedDict()
        self.addresses: dict[Endpoint, int] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, peer: PeerKey) -> Session | None:
        """Return the session with a peer, which is then the most recently used."""
        session = self._sessions.get(peer)
        if session is not None:
            self._sessions.move_to_end(peer)
        return session

    def add(
        self, peer: PeerKey, mask: Mask, sealer: Aead, opener: Aead, now: float, *, asked: float | None
    ) -> Session:
        """Return a new session in place of the one with this peer, whose ciphers become the previous ones. `asked` is
        when the challenge left that the peer's handshake answers; None where the handshake is this node's own.

        Where a handshake of the peer crosses one of ours, the peer will go on with ours as soon as it is there, and a
        deployed peer with nothing else: so we do, too, and keep the peer's ciphers as the previous ones. One that
        answers a challenge of after ours does not cross it: ours was there before, or is lost.
        """
        old = self._sessions.get(peer)
        if old is not None and asked is not None and old.is_on_its_way(asked, now):
            old.previous = _Pair(opener, sealer, 0)
            self._sessions.move_to_end(peer)
            return old
        session = Session(peer, mask, sealer, opener, now, begun_here=asked is None)
        if old is not None:
            session.previous = _Pair(old.opener, old.sealer, old.sent)
            session.client_mode = old.client_mode
        else:
            self._make_room()
            self.addresses[peer[1]] = self.addresses.get(peer[1], 0) + 1
        self._sessions[peer] = session
        self._sessions.move_to_end(peer)
        return session

    def recent(self, count: int) -> list[Session]:
        """Return so many sessions at most, those used last first."""
        return list(islice(reversed(self._sessions.values()), count))

    def _make_room(self) -> None:
        if len(self._sessions) >= self._limit:
            peer, _ = self._sessions.popitem(last=False)
            self._forget_address(peer[1])
            self.evicted += 1

    def drop(self, peer: PeerKey) -> None:
        """Forget a session."""
        if self._sessions.pop(peer, None) is not None:
            self._forget_address(peer[1])

    def _forget_address(self, address: Endpoint) -> None:
        self.addresses[address] -= 1
        if not self.addresses[address]:
            del self.addresses[address]

    def forget_pongs(self) -> None:
        """The local record has changed, and with it the body of every PONG."""
        for session in self._sessions.values():
            session.pong = b""
