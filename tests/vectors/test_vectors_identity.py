"""Identity, records and keys against bytes of the deployed implementation."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codexdht import identity
from codexdht.errors import DecodeError, InvalidRecord
from codexdht.identity import PrivateKey
from codexdht.records import (
    address_text,
    decode_record,
    parse_address,
    record_from_uri,
    record_to_uri,
    sign_record,
)
from codexdht.wire.crypto import StandardCrypto, derive_keys

OTHER_ENDPOINTS: dict[tuple[str, ...], str | None] = {
    ("/ip4/1.1.1.1/tcp/80", "/ip4/2.2.2.2/udp/90"): "2.2.2.2:90",
    ("/ip6/::1/udp/9",): "::1:9",
    ("/ip6/::1/udp/9", "/ip4/2.2.2.2/udp/90"): "::1:9",
    ("/ip6/::1/udp/9", "/ip4/2.2.2.2/tcp/90"): "::1:9",
    ("/ip4/2.2.2.2/udp/0",): None,
    ("/ip4/0.0.0.0/udp/7",): None,
}
"""Where the endpoint of a record differs from the peer's on purpose: IP and port of one address, IPv6, and no address
that is none (vectors/README.md)."""


def expected_endpoint(addresses: list[str], theirs: str | None) -> str | None:
    """Return the endpoint this node should see: the first address that is both ip and udp."""
    if tuple(addresses) in OTHER_ENDPOINTS:
        return OTHER_ENDPOINTS[tuple(addresses)]
    if theirs is None and len(addresses) == 1 and addresses[0].startswith("/ip6/"):
        _, _, host, transport, port = addresses[0].split("/")
        return f"{host}:{port}" if transport == "udp" and port != "0" else None
    return theirs


def endpoint_text(endpoint: tuple[str, int] | None) -> str | None:
    return None if endpoint is None else f"{endpoint[0]}:{endpoint[1]}"


def test_keys(key: dict[str, Any]) -> None:
    """A secret gives the public key, its protobuf, the peer id and the node id, and each form reads back."""
    private = PrivateKey(bytes.fromhex(key["priv"]))
    public = private.public_key
    assert public.hex() == key["pub"]
    assert identity.encode_public_key(public).hex() == key["pubProto"]
    assert identity.decode_public_key(bytes.fromhex(key["pubProto"])) == public
    assert identity.peer_id_bytes(public).hex() == key["peerIdBytes"]
    assert identity.peer_id_text(public) == key["peerId"]
    assert identity.parse_peer_id(key["peerId"]) == public
    assert identity.node_id_of_public_key(public).hex() == key["nodeId"]


def test_records_of_keys(key: dict[str, Any]) -> None:
    """A record of the same key, seq and addresses has the same bytes and text, and reads back."""
    private = PrivateKey(bytes.fromhex(key["priv"]))
    for vector in key["records"]:
        addresses = [parse_address(text) for text in vector["addrs"]]
        signed = sign_record(private, int(vector["seq"]), addresses)
        assert signed.encoded.hex() == vector["spr"]
        assert signed.uri == vector["uri"]
        read = record_from_uri(vector["uri"])
        assert read == signed == decode_record(bytes.fromhex(vector["spr"]))
        assert read.node_id.hex() == key["nodeId"]
        assert read.seq == int(vector["seq"])
        assert [address_text(a) for a in read.addresses] == vector["addrs"]
        assert endpoint_text(read.endpoint) == expected_endpoint(vector["addrs"], vector["nodeAddress"])


def test_spr_outcomes(spr_outcome: dict[str, Any]) -> None:
    """A record is accepted or refused as at the peer, and one accepted means the same."""
    data = bytes.fromhex(spr_outcome["spr"])
    if not spr_outcome["ok"]:
        with pytest.raises(DecodeError):
            decode_record(data)
        return
    record = decode_record(data)
    assert record.peer_id == spr_outcome["peerId"]
    assert record.seq == int(spr_outcome["seq"])
    assert [address_text(a) for a in record.addresses] == spr_outcome["addrs"]
    if "nodeId" in spr_outcome:
        assert record.node_id.hex() == spr_outcome["nodeId"]
        assert endpoint_text(record.endpoint) == expected_endpoint(
            spr_outcome["addrs"], spr_outcome["nodeAddress"]
        )


def test_uri_outcomes(uri_outcome: dict[str, Any]) -> None:
    """A record's text is accepted or refused as at the peer."""
    if uri_outcome["ok"]:
        assert record_from_uri(uri_outcome["uri"]).uri == uri_outcome["uri"]
    else:
        with pytest.raises(InvalidRecord):
            record_from_uri(uri_outcome["uri"])


def test_network_records(network_spr: str) -> None:
    """Records of public networks verify, and keep their text."""
    record = record_from_uri(network_spr)
    assert record_to_uri(record.encoded) == network_spr
    assert record.addresses


def test_cids(cid: dict[str, Any]) -> None:
    """Text and bytes of a CID give the same node id."""
    assert identity.parse_cid(cid["cid"]).hex() == cid["cidBytes"]
    assert identity.node_id_of_cid(cid["cid"]).hex() == cid["nodeId"]
    assert identity.node_id_of_cid(bytes.fromhex(cid["cidBytes"])).hex() == cid["nodeId"]


def test_eth_addresses(eth_address: dict[str, Any]) -> None:
    """An Ethereum address gives its node id."""
    assert identity.node_id_of_eth_address(eth_address["address"]).hex() == eth_address["nodeId"]
    assert identity.node_id_of_eth_address("0x" + eth_address["address"]).hex() == eth_address["nodeId"]


def test_distances(distance_vector: dict[str, Any]) -> None:
    """XOR, log-distance, and the distances that a lookup asks for."""
    a, b = bytes.fromhex(distance_vector["a"]), bytes.fromhex(distance_vector["b"])
    assert identity.distance(a, b) == int(distance_vector["distance"], 16)
    assert identity.log_distance(a, b) == distance_vector["logDistance"]
    wanted = distance_vector["lookupDistances"]
    assert identity.lookup_distances(a, b, len(wanted)) == wanted


def test_id_at_distance(id_at_distance_vector: dict[str, Any]) -> None:
    """The lowest id at a log-distance."""
    node_id, d = bytes.fromhex(id_at_distance_vector["id"]), id_at_distance_vector["dist"]
    assert identity.id_at_distance(node_id, d).hex() == id_at_distance_vector["result"]


def test_gcm(gcm: dict[str, Any]) -> None:
    """AES-GCM both ways."""
    aead = StandardCrypto().aead(bytes.fromhex(gcm["key"]))
    assert isinstance(aead, AESGCM)
    nonce, ad = bytes.fromhex(gcm["nonce"]), bytes.fromhex(gcm["ad"])
    assert aead.encrypt(nonce, bytes.fromhex(gcm["pt"]), ad).hex() == gcm["ct"]
    assert aead.decrypt(nonce, bytes.fromhex(gcm["ct"]), ad).hex() == gcm["pt"]


def test_derivation(derivation: dict[str, Any]) -> None:
    """Shared point, session keys, and the id-signature of a challenge."""
    key = PrivateKey(bytes.fromhex(derivation["privA"]))
    challenge = bytes.fromhex(derivation["challengeData"])
    initiator, recipient = bytes.fromhex(derivation["nodeA"]), bytes.fromhex(derivation["nodeB"])
    secret = key.ecdh(bytes.fromhex(derivation["pubB"]))
    assert secret.hex() == derivation["sharedSecret"]
    keys = derive_keys(secret, challenge, initiator, recipient)
    assert (keys.initiator.hex(), keys.recipient.hex()) == (
        derivation["initiatorKey"],
        derivation["recipientKey"],
    )
    crypto, ephemeral = StandardCrypto(), bytes.fromhex(derivation["ephBytes"])
    signature = crypto.sign_id(key, challenge, ephemeral, recipient)
    assert signature.hex() == derivation["idSignature"]
    assert crypto.verify_id(key.public_key, signature, challenge, ephemeral, recipient)
    assert not crypto.verify_id(key.public_key, signature, challenge, ephemeral, initiator)
