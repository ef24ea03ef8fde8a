"""Peer ids and node ids, and what users write instead of a node id (wire.md section 1)."""

from __future__ import annotations

import base58
import sha3

from codexdht.errors import DecodeError, InvalidParams
from codexdht.identity.encoding import read_uvarint
from codexdht.identity.keys import decode_public_key, encode_public_key

NodeId = bytes
"""32 bytes, a 256-bit big-endian number."""

NODE_ID_SIZE = 32
_IDENTITY_MULTIHASH = b"\x00\x25"
_SHA256_MULTIHASH = b"\x12\x20"


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte keccak-256 of data, with the padding from before NIST's SHA-3."""
    digest: bytes = sha3.keccak_256(data).digest()
    return digest


def peer_id_bytes(public_key: bytes) -> bytes:
    """Return the 39-byte libp2p peer id of a 33-byte compressed public key."""
    return _IDENTITY_MULTIHASH + encode_public_key(public_key)


def peer_id_text(public_key: bytes) -> str:
    """Return the base58btc text of a peer id: 16Uiu2HA…"""
    return base58.b58encode(peer_id_bytes(public_key)).decode()


def parse_peer_id(peer_id: str | bytes) -> bytes:
    """Return the compressed public key in a peer id, given as base58btc text or as its 39 bytes.

    Raises InvalidParams when it is not the identity multihash of a secp256k1 key.
    """
    try:
        raw = base58.b58decode(peer_id) if isinstance(peer_id, str) else peer_id
        if raw[:2] != _IDENTITY_MULTIHASH:
            raise InvalidParams("peer id is not an identity multihash of a secp256k1 key (16Uiu2HA…)")
        return decode_public_key(raw[2:])
    except (ValueError, DecodeError):
        raise InvalidParams("peer id is not base58btc text of a secp256k1 key (16Uiu2HA…)") from None


def node_id_of_public_key(public_key: bytes) -> NodeId:
    """Return the node id of the peer with this 33-byte compressed key: keccak-256 of its peer id."""
    return keccak256(peer_id_bytes(public_key))


def node_id_of_cid(cid: str | bytes) -> NodeId:
    """Return the node id under which providers of a CID are published. Raises InvalidParams for a bad CID."""
    return keccak256(parse_cid(cid))


def node_id_of_eth_address(address: str | bytes) -> NodeId:
    """Return the node id of an Ethereum address. Raises InvalidParams for a bad address."""
    return keccak256(parse_eth_address(address))


def parse_eth_address(address: str | bytes) -> bytes:
    """Return the 20 bytes of an Ethereum address given as 0x… text or bytes. Raises InvalidParams."""
    if isinstance(address, str):
        try:
            address = bytes.fromhex(address.removeprefix("0x"))
        except ValueError:
            raise InvalidParams("Ethereum address is not hexadecimal") from None
    if len(address) != 20:
        raise InvalidParams(f"Ethereum address has {len(address)} bytes, not 20")
    return address


def parse_cid(cid: str | bytes) -> bytes:
    """Return the binary form of a CID: version, codec and multihash for v1, the bare multihash for v0.

    Any codec and hash number is accepted, as only the bytes matter here. Raises InvalidParams.
    """
    if isinstance(cid, str):
        cid = _decode_cid_text(cid)
    if len(cid) == 34 and cid.startswith(_SHA256_MULTIHASH):
        return cid
    version, at = _uvarint(cid, 0)
    if version != 1:
        raise InvalidParams("CID is neither version 0 (a sha2-256 multihash) nor version 1")
    _codec, at = _uvarint(cid, at)
    _hash, at = _uvarint(cid, at)
    size, at = _uvarint(cid, at)
    digest = cid[at:]
    if not digest or len(digest) != size:
        raise InvalidParams(f"CID announces a digest of {size} bytes and has {len(digest)}")
    return cid


def _decode_cid_text(text: str) -> bytes:
    try:
        if len(text) == 46 and text.startswith("Qm"):
            return base58.b58decode(text)
        if text.startswith("z"):  # what Codex writes; multibase takes twice as long for it
            return base58.b58decode(text[1:])
        import multibase

        decoded: bytes = multibase.decode(text)
    except (ValueError, KeyError, TypeError, IndexError):
        raise InvalidParams(f"CID text cannot be decoded: {text[:80]!r}") from None
    return decoded


def _uvarint(cid: bytes, at: int) -> tuple[int, int]:
    value, at = read_uvarint(cid, at, 9)
    if value < 0:
        raise InvalidParams("CID is truncated")
    return value, at
