"""Key derivation agrees with a library's."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from codexdht.wire.hkdf import hkdf


@given(st.binary(max_size=100), st.binary(max_size=64), st.binary(max_size=200))
def test_agrees_with_cryptography(secret: bytes, salt: bytes, info: bytes) -> None:
    """The 32 bytes are those of RFC 5869."""
    expected = HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)
    assert hkdf(secret, salt, info) == expected


def test_long_salt_is_refused() -> None:
    """A salt that would have to be hashed first never occurs: it is a programmer's mistake."""
    with pytest.raises(ValueError):
        hkdf(b"secret", bytes(65), b"")
