"""The calls into libsecp256k1: what is refused, and that threads do not disturb each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from codexdht.entropy import seeded
from codexdht.identity import curve

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRETS = [seeded(number).randbytes(32) for number in range(8)]
DIGEST = sha256(b"message").digest()


def der(r: int, s: int) -> bytes:
    """Return the DER form of a signature's numbers."""
    parts = [number.to_bytes(number.bit_length() // 8 + 1, "big") for number in (r, s)]
    body = b"".join(b"\x02" + bytes((len(part),)) + part for part in parts)
    return b"\x30" + bytes((len(body),)) + body


def numbers(signature: bytes) -> tuple[int, int]:
    """Return the numbers of a DER signature."""
    r_end = 4 + signature[3]
    return int.from_bytes(signature[4:r_end], "big"), int.from_bytes(signature[r_end + 2 :], "big")


def test_only_the_low_of_two_signatures_holds() -> None:
    """A signature's S is low; with the other S, which the curve allows as well, it is refused."""
    public_key = curve.public_key_of(SECRETS[0])
    r, s = numbers(curve.sign(SECRETS[0], DIGEST))
    assert s <= ORDER // 2
    assert curve.verify(public_key, DIGEST, der(r, s))
    assert not curve.verify(public_key, DIGEST, der(r, ORDER - s))


def test_der_is_minimal() -> None:
    """A zero byte in front of a number, bytes behind the signature, or none at all: refused."""
    public_key = curve.public_key_of(SECRETS[0])
    signature = curve.sign(SECRETS[0], DIGEST)
    size = signature[3]
    longer = bytes((0x30, signature[1] + 1, 0x02, size + 1, 0)) + signature[4:]
    for attempt in (longer, signature + b"\0", signature[:-1], b""):
        assert not curve.verify(public_key, DIGEST, attempt)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_digests_have_32_bytes(size: int) -> None:
    """The library would read beyond a shorter one."""
    with pytest.raises(ValueError):
        curve.sign(SECRETS[0], bytes(size))
    with pytest.raises(ValueError):
        curve.verify(curve.public_key_of(SECRETS[0]), bytes(size), b"")


def test_forms_of_a_key() -> None:
    """A key is compressed, whatever form it comes in; zero and too large a number are no secrets."""
    public_key = curve.public_key_of((1).to_bytes(32, "big"))
    assert public_key.hex() == "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
    y = 0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8
    assert curve.compress(b"\x04" + public_key[1:] + y.to_bytes(32, "big")) == public_key
    for secret in (bytes(32), ORDER.to_bytes(32, "big")):
        with pytest.raises(ValueError):
            curve.public_key_of(secret)
        with pytest.raises(ValueError):
            curve.shared_point(secret, public_key)


def test_threads_have_buffers_of_their_own() -> None:
    """The library runs without the interpreter's lock: what one thread calculates is not another's."""

    def work(secret: bytes) -> bool:
        public_key = curve.public_key_of(secret)
        signature = curve.sign(secret, DIGEST)
        shared = curve.shared_point(secret, curve.public_key_of(SECRETS[0]))
        return curve.verify(public_key, DIGEST, signature) and shared == curve.shared_point(
            SECRETS[0], public_key
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, SECRETS * 8))
