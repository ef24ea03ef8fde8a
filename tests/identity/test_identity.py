"""Keys, ids and distances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht import identity
from codexdht.entropy import SystemEntropy, seeded
from codexdht.errors import DecodeError, InvalidParams
from codexdht.identity import PrivateKey

KEY, OTHER = PrivateKey.generate(seeded(1)), PrivateKey.generate(seeded(2))
ids = st.binary(min_size=32, max_size=32)


@given(ids, ids)
def test_distance_is_a_metric(a: bytes, b: bytes) -> None:
    """XOR distance is symmetric and 0 only between equals; log-distance is its bit length."""
    assert identity.distance(a, b) == identity.distance(b, a)
    assert (identity.distance(a, b) == 0) == (a == b)
    assert identity.log_distance(a, b) == identity.distance(a, b).bit_length()


@given(ids, st.integers(1, 256))
def test_id_at_distance(node_id: bytes, d: int) -> None:
    """An id made at a distance is at that distance."""
    assert identity.log_distance(identity.id_at_distance(node_id, d), node_id) == d


@pytest.mark.parametrize("d", [0, -1, 257])
def test_no_id_at_impossible_distance(d: int) -> None:
    """Other distances are a programmer's mistake."""
    with pytest.raises(ValueError):
        identity.id_at_distance(bytes(32), d)


@given(ids, ids, st.integers(1, 16))
def test_lookup_distances(a: bytes, b: bytes, count: int) -> None:
    """A lookup asks for distinct distances, the nearest to the target's own first."""
    distances = identity.lookup_distances(a, b, count)
    middle = identity.log_distance(a, b)
    assert distances[0] == middle
    assert len(set(distances)) == count
    assert sorted(distances, key=lambda d: abs(d - middle)) == distances


@given(st.binary(max_size=60))
def test_public_keys(data: bytes) -> None:
    """Any bytes are a public key or a DecodeError; so for the shared point."""
    for attempt in (data, identity.encode_public_key(data)):
        try:
            identity.decode_public_key(attempt)
        except DecodeError:
            continue
    assert not identity.verify(data, bytes(32), data)
    with pytest.raises(DecodeError):
        KEY.ecdh(b"\x05" + data)


def test_shared_point_and_signatures() -> None:
    """Both sides find the same point; a signature holds for its key and digest only; the secret is not shown."""
    assert KEY.ecdh(OTHER.public_key) == OTHER.ecdh(KEY.public_key)
    signature = KEY.sign(b"d" * 32)
    assert identity.verify(KEY.public_key, b"d" * 32, signature)
    assert not identity.verify(KEY.public_key, b"e" * 32, signature)
    assert not identity.verify(OTHER.public_key, b"d" * 32, signature)
    assert KEY.secret.hex() not in repr(KEY)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(32), b"\xff" * 32])
def test_bad_secrets(secret: bytes) -> None:
    """Zero, too large, or of another size: not a secret."""
    with pytest.raises(ValueError):
        PrivateKey(secret)


def test_unchecked_key_is_checked_by_its_use() -> None:
    """A key that is not on the curve passes the unchecked decoder, and fails where it is used."""
    encoded = identity.encode_public_key(b"\x02" + b"\xff" * 32)
    with pytest.raises(DecodeError):
        identity.decode_public_key(encoded)
    raw = identity.decode_public_key_unchecked(encoded)
    assert not identity.verify(raw, bytes(32), KEY.sign(bytes(32)))
    with pytest.raises(DecodeError):
        KEY.ecdh(raw)


@pytest.mark.parametrize(
    "cid", ["", "x", "Qm", "zDv", b"", b"\x01", b"\x02\x55\x12\x01a", b"\x01\x55\x12\x05ab"]
)
def test_bad_cids(cid: str | bytes) -> None:
    """What is no CID is a user's mistake, with a message."""
    with pytest.raises(InvalidParams):
        identity.parse_cid(cid)


@given(st.text(max_size=50) | st.binary(max_size=50))
def test_user_input_never_raises_anything_else(text: str | bytes) -> None:
    """CIDs, addresses and peer ids of users are accepted or refused with InvalidParams."""
    for parse in (identity.parse_cid, identity.parse_eth_address, identity.parse_peer_id):
        try:
            parse(text)
        except InvalidParams:
            continue


def test_system_entropy() -> None:
    """Bytes are never given out twice, large requests are served, and numbers stay in range."""
    entropy = SystemEntropy()
    drawn = [entropy.randbytes(24) for _ in range(1000)]
    assert len(set(drawn)) == 1000
    assert len(entropy.randbytes(10_000)) == 10_000
    assert all(0 <= entropy.random() < 1 for _ in range(100))
    assert all(entropy.getrandbits(5) < 32 for _ in range(100))
