"""The table of sessions: whose ciphers are in use, which may still be read, and how packets are counted."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag

from codexdht.wire.sessions import Session, Sessions

PEER = (b"p" * 32, ("1.2.3.4", 9000))
OTHERS = [(bytes([number]) * 32, ("1.2.3.4", 9000 + number)) for number in (1, 2)]


class Cipher:
    """Reads messages that are its name."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def decrypt(self, nonce: bytes, message: bytes, bound: bytes) -> bytes:
        if message != self.name:
            raise InvalidTag
        return message


def add(sessions: Sessions, name: bytes, now: float, *, ours: bool, peer: Any = PEER) -> Session:
    """A handshake has made ciphers of this name; the peer's answers a challenge that left before any of ours."""
    cipher: Any = Cipher(name)
    return sessions.add(peer, Any, cipher, cipher, now, asked=None if ours else 0.0)


def names(session: Session) -> tuple[bytes, bytes, bytes]:
    """Return who seals, who opens, and who still may."""
    sealer, opener, previous = session.sealer, session.opener, session.previous
    assert isinstance(sealer, Cipher)
    assert isinstance(opener, Cipher)
    return sealer.name, opener.name, previous.opener.name if previous else b""  # type: ignore[attr-defined]


def test_a_key_that_comes_into_use_again_counts_on() -> None:
    """No nonce is used twice with one key, however often two handshakes change places."""
    sessions = Sessions(8)
    add(sessions, b"first", 0.0, ours=False).sent = 5
    session = add(sessions, b"second", 10.0, ours=True)
    session.sent = 2
    assert session.open_rare(b"", b"first", b"", 11.0) == b"first"
    assert (names(session), session.sent) == ((b"first", b"first", b"second"), 5)
    session.sent = 7
    assert session.open_rare(b"", b"second", b"", 12.0) == b"second"
    assert (names(session), session.sent) == ((b"second", b"second", b"first"), 2)
    assert session.open_rare(b"", b"first", b"", 13.0) == b"first"
    assert session.sent == 7


def test_for_a_second_what_came_before_a_handshake_is_read_but_changes_nothing() -> None:
    """The peer may have sent it before our handshake came."""
    sessions = Sessions(8)
    add(sessions, b"first", 0.0, ours=False)
    session = add(sessions, b"second", 10.0, ours=True)
    assert session.open_rare(b"", b"first", b"", 10.9) == b"first"
    assert names(session) == (b"second", b"second", b"first")
    assert session.open_rare(b"", b"third", b"", 11.0) is None


def test_after_a_lost_handshake_of_ours_the_peers_next_is_followed() -> None:
    """It crosses nothing: ours is on its way no more."""
    sessions = Sessions(8)
    add(sessions, b"first", 0.0, ours=False)
    session = add(sessions, b"second", 10.0, ours=True)
    session.open_rare(b"", b"first", b"", 11.5)
    assert names(add(sessions, b"third", 11.6, ours=False)) == (b"third", b"third", b"first")


def test_only_a_handshake_of_the_peer_gives_way_to_ours() -> None:
    """Another one of ours, because the first was lost, is the one that the peer will know."""
    sessions = Sessions(8)
    add(sessions, b"first", 0.0, ours=True)
    assert names(add(sessions, b"theirs", 0.1, ours=False)) == (b"first", b"first", b"theirs")
    assert names(add(sessions, b"second", 0.2, ours=True)) == (b"second", b"second", b"first")


def test_a_handshake_that_gives_way_is_a_use_of_the_session() -> None:
    """At the limit it is another one that leaves."""
    sessions = Sessions(2)
    add(sessions, b"ours", 0.0, ours=True)
    add(sessions, b"other", 0.1, ours=False, peer=OTHERS[0])
    add(sessions, b"theirs", 0.2, ours=False)
    add(sessions, b"newcomer", 0.3, ours=False, peer=OTHERS[1])
    assert sessions.get(PEER) is not None
    assert sessions.get(OTHERS[0]) is None
