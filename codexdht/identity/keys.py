"""secp256k1 keys in the forms that libp2p and the Codex DHT use (wire.md sections 1, 2 and 4)."""

from __future__ import annotations

from typing import Final

from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.identity import curve

_PREFIX: Final = b"\x08\x02\x12\x21"
_SECP256K1: Final = 2


class PrivateKey:
    """A 32-byte secp256k1 secret and its 33-byte compressed public key. Never printed: its repr shows the public key
    alone."""

    __slots__ = ("public_key", "secret")

    def __init__(self, secret: bytes) -> None:
        """Take a 32-byte secret; raises ValueError when it is not one (zero, too large, of another size)."""
        if len(secret) != 32:
            raise ValueError(f"a private key has 32 bytes, not {len(secret)}")
        self.secret = secret
        self.public_key = curve.public_key_of(secret)

    @classmethod
    def generate(cls, entropy: Entropy) -> PrivateKey:
        """Return a fresh key."""
        while True:
            try:
                return cls(entropy.randbytes(32))
            except ValueError:  # one secret in 2**128 is not below the group order
                continue

    def sign(self, digest: bytes) -> bytes:
        """Return the deterministic (RFC 6979), low-S DER signature of a 32-byte digest."""
        return curve.sign(self.secret, digest)

    def ecdh(self, public_key: bytes) -> bytes:
        """Return the shared point, compressed to 33 bytes. Raises DecodeError for a key not on the curve."""
        try:
            return curve.shared_point(self.secret, public_key)
        except ValueError:
            raise DecodeError("bad public key") from None

    def __repr__(self) -> str:
        return f"PrivateKey(public_key={self.public_key.hex()})"


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Tell whether a DER signature of a 32-byte digest holds. False also for high-S and non-minimal DER."""
    try:
        return curve.verify(public_key, digest, signature)
    except ValueError:  # not a key
        return False


def encode_public_key(public_key: bytes) -> bytes:
    """Return the 37-byte libp2p PublicKey protobuf of a 33-byte compressed key."""
    return _PREFIX + public_key


def decode_public_key(data: bytes) -> bytes:
    """Return the compressed key in a libp2p PublicKey protobuf, whatever its field order and extra fields.

    Raises DecodeError when it is not a secp256k1 key.
    """
    if len(data) == 37 and data.startswith(_PREFIX):
        return _compress(data[4:])
    return _decode_unusual(data)


def decode_public_key_unchecked(data: bytes) -> bytes:
    """Return what `decode_public_key` does, but maybe bytes that are no point of the curve. For callers that go on to
    `verify` or `ecdh` with it, which find that out: parsing a key takes 5 us, and they do it anyway."""
    if len(data) == 37 and data.startswith(_PREFIX):
        return data[4:]
    return _decode_unusual(data)


def _compress(key: bytes) -> bytes:
    try:
        return curve.compress(key)
    except ValueError:
        raise DecodeError("bad public key") from None


def _decode_unusual(data: bytes) -> bytes:
    from google.protobuf.message import DecodeError as ProtobufError

    from codexdht.identity.key_pb2 import PublicKey

    try:
        message = PublicKey.FromString(data)
    except ProtobufError:
        raise DecodeError("bad public key") from None
    if message.type != _SECP256K1 or not message.HasField("data"):
        raise DecodeError("bad public key")
    return _compress(message.data)
