"""Cryptography of packets and handshakes (wire.md sections 3 and 4), behind an interface.

`WireMachine` takes a `Crypto`. A node has `StandardCrypto`; a simulator of thousands of nodes may take
`plain.PlainCrypto`, which has the same packets and the same rules but does not calculate.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from codexdht.entropy import Entropy
from codexdht.identity import PrivateKey, decode_public_key_unchecked, encode_public_key, verify

_ID_PROOF: Final = b"discovery v5 identity proof"
_KEY_AGREEMENT: Final = b"discovery v5 key agreement"
_KEY_SIZE: Final = 16
_FROM_ZERO: Final = CTR(bytes(16))
_SHA256: Final = SHA256()


class Mask(Protocol):
    """A cipher stream for headers that one id receives. Kept, as a new one costs ten times its use."""

    def reset_nonce(self, nonce: bytes, /) -> None:
        """Start again with this 16-byte iv."""

    def update(self, data: bytes, /) -> bytes:
        """Return data masked or unmasked, going on where the last call stopped."""


class Aead(Protocol):
    """Authenticated encryption under one key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Return ciphertext and 16-byte tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """Return the plaintext. Raises cryptography's InvalidTag."""


class SessionKeys(NamedTuple):
    """The 16-byte keys that the initiator and the recipient of a handshake encrypt with."""

    initiator: bytes
    recipient: bytes


class Crypto(Protocol):
    """What a wire machine calculates. `challenge` is always iv and unmasked header of the WHOAREYOU."""

    def mask(self, node_id: bytes) -> Mask:
        """Return the mask of packets to this id."""

    def aead(self, key: bytes) -> Aead:
        """Return the cipher of a 16-byte key."""

    def ephemeral(self, entropy: Entropy) -> PrivateKey:
        """Return a key for one handshake."""

    def sign_id(self, key: PrivateKey, challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
        """Return the DER id-signature."""

    def verify_id(
        self, public_key: bytes, signature: bytes, challenge: bytes, ephemeral: bytes, recipient: bytes
    ) -> bool:
        """Tell whether an id-signature holds."""

    def keys(
        self, own: PrivateKey, other: bytes, challenge: bytes, initiator: bytes, recipient: bytes
    ) -> SessionKeys:
        """Return the keys of a session: own is the ephemeral key at the initiator and the identity at the
        recipient, other the opposite public key. Raises DecodeError when that is not on the curve."""


class StandardCrypto:
    """Real cryptography."""

    def mask(self, node_id: bytes) -> Mask:
        """See Crypto."""
        return Cipher(AES(node_id[:_KEY_SIZE]), _FROM_ZERO).encryptor()

    def aead(self, key: bytes) -> Aead:
        """See Crypto."""
        return AESGCM(key)

    def ephemeral(self, entropy: Entropy) -> PrivateKey:
        """See Crypto."""
        return PrivateKey.generate(entropy)

    def sign_id(self, key: PrivateKey, challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
        """See Crypto."""
        return key.sign(id_digest(challenge, ephemeral, recipient))

    def verify_id(
        self, public_key: bytes, signature: bytes, challenge: bytes, ephemeral: bytes, recipient: bytes
    ) -> bool:
        """See Crypto."""
        return verify(public_key, id_digest(challenge, ephemeral, recipient), signature)

    def keys(
        self, own: PrivateKey, other: bytes, challenge: bytes, initiator: bytes, recipient: bytes
    ) -> SessionKeys:
        """See Crypto."""
        return derive_keys(own.ecdh(other), challenge, initiator, recipient)


def id_digest(challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """Return the 32 bytes that an id-signature signs: hashed twice, as the deployed signer hashes the digest again."""
    return hashlib.sha256(hashlib.sha256(_ID_PROOF + challenge + ephemeral + recipient).digest()).digest()


def derive_keys(secret: bytes, challenge: bytes, initiator: bytes, recipient: bytes) -> SessionKeys:
    """Return the keys from the 33-byte shared point, the challenge data and the two node ids."""
    info = _KEY_AGREEMENT + initiator + recipient
    both = HKDF(algorithm=_SHA256, length=2 * _KEY_SIZE, salt=challenge, info=info).derive(secret)
    return SessionKeys(both[:_KEY_SIZE], both[_KEY_SIZE:])


def encode_ephemeral(key: PrivateKey) -> bytes:
    """Return the form in which an ephemeral key travels, and is signed."""
    return encode_public_key(key.public_key)


def decode_ephemeral(data: bytes) -> bytes:
    """Return the compressed key in an encoded ephemeral key. Raises DecodeError; `Crypto.keys` does, too, when it is
    not on the curve."""
    return decode_public_key_unchecked(data)
