"""secp256k1 by libsecp256k1, the one module that knows it: keys, signatures and shared points as bytes.

The library is called through the bindings below coincurve's classes. The classes make and convert objects for every
step, which is 10 us of a handshake; where the library is, and how it is built, remains coincurve's business. Every call
has buffers of its own, as the library runs without the interpreter's lock.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from coincurve._libsecp256k1 import ffi, lib
from coincurve.context import GLOBAL_CONTEXT

PUBLIC_KEY_SIZE: Final = 33
_DIGEST_SIZE: Final = 32
_MAX_DER: Final = 72
_CONTEXT: Final = GLOBAL_CONTEXT.ctx  # randomised against side channels when coincurve is imported
_COMPRESSED: Final = lib.SECP256K1_EC_COMPRESSED
_new: Final = ffi.new_allocator(should_clear_after_alloc=False)
_KEY: Final = ffi.typeof("secp256k1_pubkey *")
_SIGNATURE: Final = ffi.typeof("secp256k1_ecdsa_signature *")
_SIZE: Final = ffi.typeof("size_t *")
_KEY_BYTES: Final = ffi.typeof(f"unsigned char[{PUBLIC_KEY_SIZE}]")
_DER_BYTES: Final = ffi.typeof(f"unsigned char[{_MAX_DER}]")


def _parse(public_key: bytes) -> Any:
    """Return the library's form of a key: 5 us, for a square root. Raises ValueError when it is not on the curve."""
    key = _new(_KEY)
    if not lib.secp256k1_ec_pubkey_parse(_CONTEXT, key, public_key, len(public_key)):
        raise ValueError("not a public key")
    return key


_parse_to_verify = lru_cache(maxsize=64)(_parse)
"""A handshake checks two signatures of one key. These keys are only ever read."""


def _serialize(key: Any) -> bytes:
    encoded, size = _new(_KEY_BYTES), _new(_SIZE, PUBLIC_KEY_SIZE)
    lib.secp256k1_ec_pubkey_serialize(_CONTEXT, encoded, size, key, _COMPRESSED)
    return bytes(ffi.buffer(encoded))


def public_key_of(secret: bytes) -> bytes:
    """Return the compressed public key of 32 secret bytes. Raises ValueError for zero and what is not below the
    group's order."""
    key = _new(_KEY)
    if not lib.secp256k1_ec_pubkey_create(_CONTEXT, key, secret):
        raise ValueError("not a private key")
    return _serialize(key)


def compress(public_key: bytes) -> bytes:
    """Return the 33-byte form of a key of 33 or 65 bytes. Raises ValueError when it is not on the curve."""
    return _serialize(_parse(public_key))


def _check_digest(digest: bytes) -> None:
    """The library reads 32 bytes, whatever it is given."""
    if len(digest) != _DIGEST_SIZE:
        raise ValueError("a digest has 32 bytes")


def sign(secret: bytes, digest: bytes) -> bytes:
    """Return the deterministic (RFC 6979), low-S DER signature of a 32-byte digest under a valid secret."""
    _check_digest(digest)
    signature, der, size = _new(_SIGNATURE), _new(_DER_BYTES), _new(_SIZE, _MAX_DER)
    if not lib.secp256k1_ecdsa_sign(_CONTEXT, signature, digest, secret, ffi.NULL, ffi.NULL):
        raise ValueError("not a private key")
    lib.secp256k1_ecdsa_signature_serialize_der(_CONTEXT, der, size, signature)
    return bytes(ffi.buffer(der, size[0]))


def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
    """Tell whether a DER signature of a 32-byte digest holds; not with a high S, nor in DER that is not minimal. Raises
    ValueError when the key is not on the curve."""
    _check_digest(digest)
    key, parsed = _parse_to_verify(public_key), _new(_SIGNATURE)
    if not lib.secp256k1_ecdsa_signature_parse_der(_CONTEXT, parsed, signature, len(signature)):
        return False
    valid: int = lib.secp256k1_ecdsa_verify(_CONTEXT, parsed, digest, key)
    return valid == 1


def shared_point(secret: bytes, public_key: bytes) -> bytes:
    """Return secret times public key, compressed. Raises ValueError when the key is not on the curve.

    How long this takes depends on the secret alone, so that timing handshakes from afar tells next to nothing; a
    process of another user that watches this core's caches might learn more. The library's multiplication in constant
    time (`secp256k1_ecdh`, 9 us more) gives the point to a C function only; one made of Python needs memory that is
    both writable and executable, which is worse to have in this process.
    """
    key = _parse(public_key)
    if not lib.secp256k1_ec_pubkey_tweak_mul(_CONTEXT, key, secret):
        raise ValueError("not a private key")
    return _serialize(key)
