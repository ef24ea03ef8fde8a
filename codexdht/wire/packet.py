"""Packets: the masked header and what is in it (wire.md section 3; devp2p `discv5-wire.md`).

    packet = iv(16) || masked(header) || message
    header = "discv5" || 00 01 || flag(1) || nonce(12) || authdata-size(2) || authdata

Nothing here knows keys: sealing and opening of messages is in `crypto` and `sessions`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from codexdht.errors import DecodeError
from codexdht.wire.crypto import Mask

MIN_PACKET: Final = 63
MAX_PACKET: Final = 65507
MAX_SENT: Final = 1280
IV_SIZE: Final = 16
NONCE_SIZE: Final = 12
ID_SIZE: Final = 32
TAG_SIZE: Final = 16
STATIC_SIZE: Final = 23
ORDINARY, WHOAREYOU, HANDSHAKE = 0, 1, 2

_PROTOCOL: Final = b"discv5\x00\x01"
ORDINARY_START: Final = _PROTOCOL + b"\x00"
"""What every ordinary header starts with."""
ORDINARY_SIZE: Final = b"\x00\x20"
"""The authdata-size of every ordinary header."""
ORDINARY_HEADER: Final = STATIC_SIZE + ID_SIZE
MESSAGE_AT: Final = IV_SIZE + ORDINARY_HEADER
"""Where the message of an ordinary packet begins."""
_WHOAREYOU_AUTHDATA: Final = 24
_HANDSHAKE_FIXED: Final = ID_SIZE + 2


class Packet(NamedTuple):
    """flag; 12-byte nonce; authdata; `bound`, that is iv and unmasked header, which the message's tag covers (the
    challenge data in the case of WHOAREYOU); message, still encrypted."""

    flag: int
    nonce: bytes
    authdata: bytes
    bound: bytes
    message: bytes


class HandshakeAuth(NamedTuple):
    """Authdata of a handshake: 32-byte source id; DER id-signature; encoded ephemeral key; encoded record or b""."""

    source: bytes
    signature: bytes
    ephemeral: bytes
    record: bytes


def decode_packet(mask: Mask, data: bytes) -> Packet:
    """Return the parts of a packet; `mask` is the one of the receiver's id. Raises DecodeError."""
    if not MIN_PACKET <= len(data) <= MAX_PACKET:
        raise DecodeError("bad packet size")
    mask.reset_nonce(data[:IV_SIZE])
    return decode_begun(mask, data, mask.update(data[IV_SIZE:MESSAGE_AT]))


def decode_begun(mask: Mask, data: bytes, begun: bytes) -> Packet:
    """Return the parts of a packet of which an ordinary header's length, or all that there is, is unmasked: `begun`.
    `mask` stands behind that. Raises DecodeError."""
    if not begun.startswith(_PROTOCOL):
        raise DecodeError("bad protocol id")
    flag, size = begun[8], int.from_bytes(begun[21:STATIC_SIZE], "big")
    end = IV_SIZE + STATIC_SIZE + size
    _check_size(flag, size, len(data) - end)
    header = (begun + mask.update(data[MESSAGE_AT:end]))[: STATIC_SIZE + size]
    return Packet(flag, header[9:21], header[STATIC_SIZE:], data[:IV_SIZE] + header, data[end:])


def _check_size(flag: int, size: int, message_size: int) -> None:
    """Check an authdata-size against flag and what is left of the packet behind it."""
    if flag == ORDINARY:
        fits = size == ID_SIZE
    elif flag == WHOAREYOU:
        fits = size == _WHOAREYOU_AUTHDATA and message_size == 0
    elif flag == HANDSHAKE:
        fits = size >= _HANDSHAKE_FIXED
    else:
        raise DecodeError("bad flag")
    if not fits or message_size < 0:
        raise DecodeError("bad authdata size")


def decode_handshake_auth(authdata: bytes) -> HandshakeAuth:
    """Return the parts of a handshake's authdata (at least 34 bytes). Raises DecodeError."""
    signature_end = _HANDSHAKE_FIXED + authdata[32]
    key_end = signature_end + authdata[33]
    if key_end > len(authdata):
        raise DecodeError("bad handshake sizes")
    return HandshakeAuth(
        authdata[:ID_SIZE],
        authdata[_HANDSHAKE_FIXED:signature_end],
        authdata[signature_end:key_end],
        authdata[key_end:],
    )


def encode_handshake_auth(auth: HandshakeAuth) -> bytes:
    """Return the authdata of a handshake."""
    sizes = bytes((len(auth.signature), len(auth.ephemeral)))
    return auth.source + sizes + auth.signature + auth.ephemeral + auth.record


def encode_whoareyou_auth(id_nonce: bytes, record_seq: int) -> bytes:
    """Return the authdata of a WHOAREYOU: 16 random bytes, and the seq of the record we hold (0: none)."""
    return id_nonce + record_seq.to_bytes(8, "big")


def encode_header(flag: int, nonce: bytes, authdata: bytes) -> bytes:
    """Return an unmasked header."""
    return _PROTOCOL + bytes((flag,)) + nonce + len(authdata).to_bytes(2, "big") + authdata


def encode_packet(mask: Mask, iv: bytes, header: bytes, message: bytes) -> bytes:
    """Return a packet; `mask` is the one of the receiver's id."""
    mask.reset_nonce(iv)
    return iv + mask.update(header) + message
