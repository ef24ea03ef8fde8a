"""Whole exchanges of the deployed implementation, packet by packet, through the codec and through the machine."""

from __future__ import annotations

import random
from typing import Any

import pytest

from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey, node_id_of_public_key
from codexdht.messages import discv5
from codexdht.messages.internal import Actor, Call, ClockSet, Open, PeerRequest, PeerSeen
from codexdht.records import Endpoint, address_text, decode_record
from codexdht.wire.crypto import StandardCrypto, encode_ephemeral
from codexdht.wire.local import LocalState
from codexdht.wire.machine import WireMachine
from codexdht.wire.packet import (
    HandshakeAuth,
    decode_handshake_auth,
    decode_packet,
    encode_handshake_auth,
    encode_header,
    encode_packet,
    encode_whoareyou_auth,
)
from codexdht.wire.settings import WireSettings

CRYPTO = StandardCrypto()
DAMAGE_COUNTERS = {
    "iv": {"bad_protocol_id"},
    "header": {"bad_protocol_id"},
    "srcId": {"handshake_without_challenge"},
    "sigSize": {"handshake_with_bad_record", "handshake_with_bad_signature", "bad_handshake_sizes"},
    "signature": {"handshake_with_bad_signature"},
    "last byte": {"handshake_undecryptable"},
    "no challenge": {"handshake_without_challenge"},
}
"""Under which reason each damage is counted. A wrong signature size moves all that follows, so it may show anywhere."""


class Script(random.Random):
    """Randomness that gives out prepared bytes first."""

    def __init__(self, *prepared: bytes) -> None:
        super().__init__(1)
        self.prepared = b"".join(prepared)

    def randbytes(self, n: int) -> bytes:
        """Return the next n bytes."""
        taken, self.prepared = self.prepared[:n], self.prepared[n:]
        return taken + super().randbytes(n - len(taken))


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def endpoint(side: dict[str, Any]) -> Endpoint:
    host, port = side["address"].split(":")
    return host, int(port)


def machine(side: dict[str, Any], *chance: bytes) -> WireMachine:
    """Return an open machine with the key and record of one side, and prepared randomness."""
    record = decode_record(raw(side["spr"]))
    state = LocalState(last_seq=record.seq, record=record.encoded)
    host, port = endpoint(side)
    settings = WireSettings(
        listen=[f"/ip4/{host}/udp/{port}"], announce=[address_text(a) for a in record.addresses]
    )
    wire = WireMachine(PrivateKey(raw(side["priv"])), state, settings, Script(*chance))
    wire.handle(ClockSet(0.0), 0.0)
    wire.boot(0.0)
    wire.handle(Open(Actor.API, 1, 1.0), 0.0)
    wire.socket_bound([endpoint(side)], 0.0)
    wire.outbox.take()
    return wire


def challenged(exchange: dict[str, Any]) -> WireMachine:
    """Return B after A's random packet: it has sent the very WHOAREYOU of the exchange."""
    a, b, challenge = exchange["A"], exchange["B"], exchange["whoareyou"]
    wire = machine(b, raw(challenge["unmasked"]["iv"]), raw(challenge["idNonce"]))
    if challenge["recordSeq"] != "0":
        learn(wire, a, int(challenge["recordSeq"]))
    wire.receive_datagram(raw(exchange["random"]["packet"]), endpoint(a), 0.0)
    assert [(raw(challenge["packet"]), endpoint(a))] == wire.datagrams
    wire.datagrams.clear()
    return wire


def learn(wire: WireMachine, side: dict[str, Any], seq: int) -> None:
    """Make a machine know a peer, as after a handshake with its record."""
    record = decode_record(raw(side["spr"]))
    assert record.seq == seq
    wire._identities.learn(record)


def received(wire: WireMachine, kind: type[Any]) -> list[Any]:
    return [m for _, messages in wire.outbox.take() for m in messages if isinstance(m, kind)]


def test_unmasking(exchange: dict[str, Any]) -> None:
    """Every packet comes apart as the peer says, and masking the parts gives the packet again."""
    a, b = raw(exchange["A"]["nodeId"]), raw(exchange["B"]["nodeId"])
    packets = [(exchange["random"], b), (exchange["whoareyou"], a), (exchange["handshake"], b)]
    packets += [(o, a if o["dir"] == "B->A" else b) for o in exchange["ordinary"]]
    for vector, recipient in packets:
        parts, mask = vector["unmasked"], CRYPTO.mask(recipient)
        packet = decode_packet(mask, raw(vector["packet"]))
        assert packet.bound.hex() == parts["iv"] + parts["header"]
        assert packet.authdata.hex() == parts["authdata"]
        assert packet.message.hex() == parts["message"]
        header = encode_header(packet.flag, packet.nonce, packet.authdata)
        assert header.hex() == parts["header"]
        rebuilt = encode_packet(mask, raw(parts["iv"]), header, raw(parts["message"]))
        assert rebuilt.hex() == vector["packet"]


def test_whoareyou(exchange: dict[str, Any]) -> None:
    """Id-nonce and record seq make the authdata; iv and header are the challenge data."""
    vector = exchange["whoareyou"]
    authdata = encode_whoareyou_auth(raw(vector["idNonce"]), int(vector["recordSeq"]))
    assert authdata.hex() == vector["unmasked"]["authdata"]
    packet = decode_packet(CRYPTO.mask(raw(exchange["A"]["nodeId"])), raw(vector["packet"]))
    assert packet.nonce.hex() == vector["requestNonce"]
    assert packet.bound.hex() == vector["challengeData"]


def test_handshake_parts(exchange: dict[str, Any]) -> None:
    """From the peer's ephemeral key come its signature, its keys and its packet, byte for byte."""
    vector = exchange["handshake"]
    a, b = PrivateKey(raw(exchange["A"]["priv"])), PrivateKey(raw(exchange["B"]["priv"]))
    a_id, b_id = node_id_of_public_key(a.public_key), node_id_of_public_key(b.public_key)
    challenge = raw(exchange["whoareyou"]["challengeData"])
    ephemeral = PrivateKey(raw(vector["ephPriv"]))
    encoded = encode_ephemeral(ephemeral)
    assert (encoded.hex(), len(encoded)) == (vector["ephPub"], vector["ephKeySize"])
    assert ephemeral.ecdh(b.public_key).hex() == vector["sharedSecret"]
    keys = CRYPTO.keys(ephemeral, b.public_key, challenge, a_id, b_id)
    assert keys == CRYPTO.keys(b, ephemeral.public_key, challenge, a_id, b_id)
    assert (keys.initiator.hex(), keys.recipient.hex()) == (vector["initiatorKey"], vector["recipientKey"])
    signature = CRYPTO.sign_id(a, challenge, encoded, b_id)
    assert (signature.hex(), len(signature)) == (vector["idSignature"], vector["sigSize"])
    auth = HandshakeAuth(a_id, signature, encoded, raw(vector["recordBytes"]))
    assert decode_handshake_auth(encode_handshake_auth(auth)) == auth
    header = encode_header(2, raw(vector["nonce"]), encode_handshake_auth(auth))
    iv = raw(vector["unmasked"]["iv"])
    message = CRYPTO.aead(keys.initiator).encrypt(raw(vector["nonce"]), raw(vector["plaintext"]), iv + header)
    assert encode_packet(CRYPTO.mask(b_id), iv, header, message).hex() == vector["packet"]


def test_ordinary_packets(exchange: dict[str, Any]) -> None:
    """The messages of the session open with the keys of each side, and sealing them gives the same packets."""
    ids = {"A->B": raw(exchange["B"]["nodeId"]), "B->A": raw(exchange["A"]["nodeId"])}
    keys = {"A->B": exchange["sessionA"]["write"], "B->A": exchange["sessionB"]["write"]}
    assert exchange["sessionA"]["read"] == keys["B->A"]
    for vector in exchange["ordinary"]:
        aead, mask = CRYPTO.aead(raw(keys[vector["dir"]])), CRYPTO.mask(ids[vector["dir"]])
        packet = decode_packet(mask, raw(vector["packet"]))
        assert aead.decrypt(packet.nonce, packet.message, packet.bound).hex() == vector["plaintext"]
        message = aead.encrypt(raw(vector["nonce"]), raw(vector["plaintext"]), packet.bound)
        assert encode_packet(mask, packet.bound[:16], packet.bound[16:], message) == raw(vector["packet"])


def test_machine_as_recipient(exchange: dict[str, Any]) -> None:
    """B sends the peer's WHOAREYOU, accepts its handshake, answers, and reads what follows."""
    wire, a = challenged(exchange), endpoint(exchange["A"])
    wire.receive_datagram(raw(exchange["handshake"]["packet"]), a, 0.1)
    seen = received(wire, PeerSeen)
    sent = raw(exchange["handshake"]["recordBytes"])
    known = raw(exchange["A"]["spr"]) if exchange["whoareyou"]["recordSeq"] != "0" else b""
    assert [(m.node_id, m.record) for m in seen] == [(raw(exchange["A"]["nodeId"]), sent or known)]
    answers = len(wire.datagrams)
    assert answers == (exchange["handshake"]["plaintext"][:2] == "01")
    for vector in exchange["ordinary"]:
        if vector["dir"] == "A->B":
            wire.receive_datagram(raw(vector["packet"]), a, 0.2)
    assert wire.counters["handshakes_accepted"] == 1
    assert wire.counters["undecryptable"] == 0
    requests = received(wire, PeerRequest)
    for vector in exchange["ordinary"]:
        kind, request_id, body, _ = discv5.decode_outer(raw(vector["plaintext"]))
        if vector["dir"] == "A->B" and kind in (3, 0x83, 0x0B, 0x0C):
            assert any((m.kind, m.request_id, m.body) == (kind, request_id, body) for m in requests)


def test_machine_as_initiator(exchange: dict[str, Any]) -> None:
    """A sends the peer's random packet, and answers the WHOAREYOU with the peer's authdata."""
    a, b, vector = exchange["A"], exchange["B"], exchange["handshake"]
    random_parts = exchange["random"]["unmasked"]
    kind, request_id, body, _ = discv5.decode_outer(raw(vector["plaintext"]))
    chance = [random_parts["iv"], exchange["random"]["nonce"], random_parts["message"], vector["ephPriv"]]
    wire = machine(a, request_id, *map(raw, chance))
    b_key = PrivateKey(raw(b["priv"])).public_key
    host, port = endpoint(b)
    wire.handle(Call(1, 1.0, raw(b["nodeId"]), b_key, host, port, kind, body), 0.0)
    assert wire.datagrams == [(raw(exchange["random"]["packet"]), (host, port))]
    wire.datagrams.clear()
    wire.receive_datagram(raw(exchange["whoareyou"]["packet"]), (host, port), 0.1)
    [(sent, address)] = wire.datagrams
    packet = decode_packet(CRYPTO.mask(raw(b["nodeId"])), sent)
    assert address == (host, port)
    assert packet.authdata.hex() == vector["unmasked"]["authdata"]
    plaintext = CRYPTO.aead(raw(vector["initiatorKey"])).decrypt(packet.nonce, packet.message, packet.bound)
    assert plaintext.hex() == vector["plaintext"]


def test_machine_refuses_damage(damaged_exchange: dict[str, Any], damage: dict[str, Any]) -> None:
    """A damaged handshake is dropped under a reason of its own, nothing is answered and no session exists."""
    exchange = damaged_exchange
    unsolicited = damage["what"] == "no challenge"
    wire = machine(exchange["B"]) if unsolicited else challenged(exchange)
    before = wire.counters.copy()
    wire.receive_datagram(raw(damage["packet"]), endpoint(exchange["A"]), 0.1)
    assert wire.datagrams == []
    assert wire.outbox.take() == []
    counted = wire.counters - before
    assert counted.total() == 1
    assert set(counted) <= DAMAGE_COUNTERS.get(damage["what"], set(counted))
    assert len(wire._sessions) == 0


def test_damaged_packets_in_codec(damaged_exchange: dict[str, Any], damage: dict[str, Any]) -> None:
    """The packet codec raises nothing but DecodeError on damage."""
    mask = CRYPTO.mask(raw(damaged_exchange["B"]["nodeId"]))
    if damage["what"] in ("iv", "header"):
        with pytest.raises(DecodeError):
            decode_packet(mask, raw(damage["packet"]))
    else:
        assert decode_packet(mask, raw(damage["packet"])).flag == 2
