"""Encoding, signing, decoding and verifying of signed peer records (wire.md section 2).

A `SignedPeerRecord` is only ever made by `decode_record` or `sign_record`: whoever holds one may rely on its
signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from codexdht.errors import DecodeError, InvalidRecord
from codexdht.identity import PUBLIC_KEY_SIZE, PrivateKey, node_id_of_public_key, peer_id_text, verify
from codexdht.identity.encoding import uvarint
from codexdht.records.envelope import PAYLOAD_TYPE, encode_envelope, encode_payload, read_envelope
from codexdht.records.multiaddress import (
    Endpoint,
    IpVersions,
    endpoint_of,
    ip_version,
    is_valid_multiaddress,
)

_DOMAIN: Final = b"libp2p-peer-record"
_SIGNED_PREFIX: Final = bytes([len(_DOMAIN)]) + _DOMAIN + bytes([len(PAYLOAD_TYPE)]) + PAYLOAD_TYPE
_URI_PREFIX: Final = "spr:"
_URL_SAFE: Final = re.compile(r"[A-Za-z0-9_-]+")
MAX_RECORD: Final = 4096
"""A larger record is refused before anything in it is looked at: packets have room for 60 kB, and every record that
is believed is kept. Usual ones have 170 to 190 bytes."""
_MAX_ADDRESSES: Final = 64
"""Addresses of a record that are looked at: many short ones take more time and memory than all the rest of it."""


_LARGEST_SEQ: Final = 2**64 - 1
_LONGEST_SIGNATURE: Final = 72


class SignedPeerRecord:
    """A verified record.

    encoded: the envelope as received; public_key: 33 bytes; node_id: 32 bytes, number: the same as one, kept here as
    tables compare ids all the time; seq: below 2**64;
    addresses: the first 64 binary multiaddresses, undecodable ones left out; endpoint: where its datagrams go, or None
    (see `reached_over`). Two records are equal when their bytes are.
    """

    __slots__ = ("addresses", "encoded", "endpoint", "node_id", "number", "public_key", "seq")

    def __init__(
        self, encoded: bytes, public_key: bytes, node_id: bytes, seq: int, addresses: tuple[bytes, ...]
    ) -> None:
        self.encoded = encoded
        self.public_key = public_key
        self.node_id = node_id
        self.number = int.from_bytes(node_id, "big")
        self.seq = seq
        self.addresses = addresses
        self.endpoint: Endpoint | None = next(filter(None, map(endpoint_of, addresses)), None)

    @property
    def peer_id(self) -> str:
        """The libp2p peer id: 16Uiu2HA…"""
        return peer_id_text(self.public_key)

    @property
    def uri(self) -> str:
        """The text form: spr:…"""
        return record_to_uri(self.encoded)

    def reached_over(self, versions: IpVersions) -> SignedPeerRecord:
        """Return this record as it is for a node with sockets of these IP versions: its endpoint is the first one that
        such a node can send to, or None."""
        if self.endpoint is None or ip_version(self.endpoint) in versions:
            return self
        record = SignedPeerRecord(self.encoded, self.public_key, self.node_id, self.seq, self.addresses)
        endpoints = filter(None, map(endpoint_of, self.addresses))
        record.endpoint = next((e for e in endpoints if ip_version(e) in versions), None)
        return record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignedPeerRecord) and other.encoded == self.encoded

    def __hash__(self) -> int:
        return hash(self.encoded)

    def __repr__(self) -> str:
        return f"SignedPeerRecord(peer_id={self.peer_id}, seq={self.seq}, endpoint={self.endpoint})"


def decode_record(data: bytes, *, verified: bool = False) -> SignedPeerRecord:
    """Return the record in an envelope. Raises DecodeError when it does not decode or does not hold.

    `verified`: another process of this node has checked the signature of these bytes; nine tenths of the time are
    saved then.
    """
    if len(data) > MAX_RECORD:
        raise DecodeError("bad record size")
    parts = read_envelope(data)
    addresses = tuple(filter(is_valid_multiaddress, parts.addresses[:_MAX_ADDRESSES]))
    if parts.addresses and not addresses:
        raise DecodeError("bad record")
    public_key = parts.public_key
    if not verified and not verify(public_key, _signed_digest(parts.payload), parts.signature):
        raise DecodeError("bad record signature")
    return SignedPeerRecord(data, public_key, node_id_of_public_key(public_key), parts.seq, addresses)


def sign_record(key: PrivateKey, seq: int, addresses: list[bytes] | tuple[bytes, ...]) -> SignedPeerRecord:
    """Return a record of these binary multiaddresses, signed with key. Its bytes depend on nothing else."""
    public_key = key.public_key
    payload = encode_payload(public_key, seq, addresses)
    encoded = encode_envelope(public_key, payload, key.sign(_signed_digest(payload)))
    return SignedPeerRecord(encoded, public_key, node_id_of_public_key(public_key), seq, tuple(addresses))


def largest_record(addresses: list[bytes]) -> int:
    """Return how many bytes a record of these binary multiaddresses has at most, whatever its key and seq."""
    key = bytes(PUBLIC_KEY_SIZE)
    return len(encode_envelope(key, encode_payload(key, _LARGEST_SEQ, addresses), bytes(_LONGEST_SIGNATURE)))


def _signed_digest(payload: bytes) -> bytes:
    return hashlib.sha256(_SIGNED_PREFIX + uvarint(len(payload)) + payload).digest()


def record_to_uri(encoded: bytes) -> str:
    """Return the text form of an envelope: spr: and URL-safe base64 without padding."""
    return _URI_PREFIX + base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()


def record_from_uri(uri: str, *, verified: bool = False) -> SignedPeerRecord:
    """Return the record in a spr:… text. Raises InvalidRecord, saying what is wrong with it. `verified`: as for
    `decode_record`."""
    if not uri.startswith(_URI_PREFIX):
        raise InvalidRecord(f"a record's text starts with {_URI_PREFIX!r}, this one with {uri[:8]!r}")
    text = uri.removeprefix(_URI_PREFIX)
    if not _URL_SAFE.fullmatch(text):
        raise InvalidRecord("a record's text is URL-safe base64 without padding")
    try:
        return decode_record(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), verified=verified)
    except binascii.Error:
        raise InvalidRecord(
            "a record's text is URL-safe base64 without padding; this one is truncated"
        ) from None
    except DecodeError as error:
        raise InvalidRecord(f"the record does not hold: {error}") from None
