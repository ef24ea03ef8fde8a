"""HKDF-SHA256 (RFC 5869) of one block, over hashlib's SHA-256.

OpenSSL 3 fetches its algorithms anew for every HMAC. In a node at work, whose caches hold other things, its HKDF takes
12 us or more through `cryptography`, two HMACs through `hmac.digest` 9, and this 5.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

_BLOCK: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of keys. The salt has at most 64 bytes; raises ValueError otherwise."""
    return _hmac(_hmac(salt, secret), info + b"\x01")


def _hmac(key: bytes, message: bytes) -> bytes:
    """Return the HMAC (RFC 2104) under a key that needs no hashing first."""
    if len(key) > _BLOCK:
        raise ValueError(f"a key of {len(key)} bytes is longer than a block")
    padded = key.ljust(_BLOCK, b"\0")
    return sha256(padded.translate(_OUTER) + sha256(padded.translate(_INNER) + message).digest()).digest()
