"""The wire's cryptography without the calculation, for simulations of many nodes in one process.

Packets, sizes and rules are those of `crypto.StandardCrypto`, and a wrong key, signature or changed byte is refused
as there; but nothing is secret. A node never uses this.
"""

from __future__ import annotations

import hashlib
import zlib

from cryptography.exceptions import InvalidTag

from codexdht.entropy import Entropy
from codexdht.identity import PrivateKey
from codexdht.wire.crypto import Aead, Mask, SessionKeys, id_digest

_SIGNATURE_START = b"\x30\x44"
_SIGNATURE_SIZE = 70


class PlainMask:
    """Leaves headers as they are."""

    def reset_nonce(self, nonce: bytes, /) -> None:
        """See Mask."""

    def update(self, data: bytes, /) -> bytes:
        """See Mask."""
        return data


class PlainAead:
    """Puts a checksum over everything in the tag's place."""

    def __init__(self, key: bytes) -> None:
        self._start = zlib.crc32(key)

    def _tag(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        checksum = zlib.crc32(data, zlib.crc32(associated_data, zlib.crc32(nonce, self._start)))
        return checksum.to_bytes(16, "big")

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """See Aead."""
        return data + self._tag(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """See Aead."""
        plaintext = data[:-16]
        if data[-16:] != self._tag(nonce, plaintext, associated_data):
            raise InvalidTag
        return plaintext


class PlainCrypto:
    """See Crypto. The ephemeral key is the same for all handshakes; keys come from the challenge, which is unique."""

    def __init__(self) -> None:
        self._mask = PlainMask()
        self._ephemeral = PrivateKey(b"\x01" * 32)

    def mask(self, node_id: bytes) -> Mask:  # noqa: ARG002
        """See Crypto."""
        return self._mask

    def aead(self, key: bytes) -> Aead:
        """See Crypto."""
        return PlainAead(key)

    def ephemeral(self, entropy: Entropy) -> PrivateKey:  # noqa: ARG002
        """See Crypto."""
        return self._ephemeral

    def sign_id(self, key: PrivateKey, challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
        """See Crypto."""
        return _signature(key.public_key, challenge, ephemeral, recipient)

    def verify_id(
        self, public_key: bytes, signature: bytes, challenge: bytes, ephemeral: bytes, recipient: bytes
    ) -> bool:
        """See Crypto."""
        return signature == _signature(public_key, challenge, ephemeral, recipient)

    def keys(
        self,
        own: PrivateKey,  # noqa: ARG002
        other: bytes,  # noqa: ARG002
        challenge: bytes,
        initiator: bytes,
        recipient: bytes,
    ) -> SessionKeys:
        """See Crypto."""
        digest = hashlib.sha256(challenge + initiator + recipient).digest()
        return SessionKeys(digest[:16], digest[16:])


def _signature(public_key: bytes, challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    digest = id_digest(challenge, ephemeral, recipient)
    return (_SIGNATURE_START + digest + public_key).ljust(_SIGNATURE_SIZE, b"\0")
