"""Peers' messages against bytes of the deployed implementation, both ways."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest

from codexdht.errors import DecodeError
from codexdht.messages import discv5
from codexdht.messages.discv5 import AddProvider, Kind, Pong, Records, TalkRequest
from codexdht.records import decode_record

Fields = dict[str, Any]

KIND_NAMES = {
    "ping": Kind.PING,
    "pong": Kind.PONG,
    "findNode": Kind.FIND_NODE,
    "findNodeFast": Kind.FIND_NODE_FAST,
    "nodes": Kind.NODES,
    "talkReq": Kind.TALK_REQ,
    "talkResp": Kind.TALK_RESP,
    "addProvider": Kind.ADD_PROVIDER,
    "getProviders": Kind.GET_PROVIDERS,
    "providers": Kind.PROVIDERS,
}


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text)


VALUES: dict[int, Callable[[Fields], Any]] = {
    Kind.PING: lambda f: int(f["seq"]),
    Kind.PONG: lambda f: Pong(int(f["seq"]), str(ip_address(f["ip"])), int(f["port"])),
    Kind.FIND_NODE: lambda f: [int(d) for d in f["distances"]],
    Kind.FIND_NODE_FAST: lambda f: _bytes(f["target"]),
    Kind.NODES: lambda f: Records(int(f["total"]), [_bytes(spr) for spr in f["sprs"]]),
    Kind.TALK_REQ: lambda f: TalkRequest(_bytes(f["protocol"]), _bytes(f["request"])),
    Kind.TALK_RESP: lambda f: _bytes(f["response"]),
    Kind.ADD_PROVIDER: lambda f: AddProvider(_bytes(f["id"]), _bytes(f["prov"])),
    Kind.GET_PROVIDERS: lambda f: _bytes(f["id"]),
    Kind.PROVIDERS: lambda f: Records(int(f["total"]), [_bytes(spr) for spr in f["provs"]]),
}
"""Fields of a vector to what our codec takes and gives."""

ENCODERS: dict[int, Callable[[Any], bytes]] = {
    Kind.PING: discv5.encode_ping,
    Kind.PONG: discv5.encode_pong,
    Kind.FIND_NODE: discv5.encode_find_node,
    Kind.FIND_NODE_FAST: discv5.encode_find_node_fast,
    Kind.NODES: lambda value: discv5.encode_records(*value),
    Kind.TALK_REQ: discv5.encode_talk_request,
    Kind.TALK_RESP: discv5.encode_talk_response,
    Kind.ADD_PROVIDER: discv5.encode_add_provider,
    Kind.GET_PROVIDERS: discv5.encode_get_providers,
    Kind.PROVIDERS: lambda value: discv5.encode_records(*value),
}
DECODERS: dict[int, Callable[[bytes], Any]] = {
    Kind.PING: discv5.decode_ping,
    Kind.PONG: discv5.decode_pong,
    Kind.FIND_NODE: discv5.decode_find_node,
    Kind.FIND_NODE_FAST: discv5.decode_find_node_fast,
    Kind.NODES: discv5.decode_records,
    Kind.TALK_REQ: discv5.decode_talk_request,
    Kind.TALK_RESP: discv5.decode_talk_response,
    Kind.ADD_PROVIDER: discv5.decode_add_provider,
    Kind.GET_PROVIDERS: discv5.decode_get_providers,
    Kind.PROVIDERS: discv5.decode_records,
}

ACCEPTED_HERE = {
    "nodes one good one bad": "a bad record never spoils its neighbours",
    "nodes empty spr": "a bad record never spoils its neighbours",
    "providers one bad": "a bad record never spoils its neighbours",
    "addProvider bad spr": "the record is checked by the store, which drops the message",
    "findNode none": "an empty list is answered with an empty NODES",
    "findNode varint distance": "a field of another wire type is an unknown field, so the list is empty",
    "ping seq overlong varint": "the protobuf library reads an overlong varint; no peer writes one",
    "ping seq > 64 bits": "the protobuf library drops bits above 64; no peer writes them",
    "clientMode 2^32+1": "field 3 that is not 1 is false, however large",
}
"""Refused by the peer, accepted here, and why."""

REFUSED_HERE = "a field of the wrong length: the peer guesses or dies, this node drops the message"


def decode(data: bytes) -> Any:
    """Return the decoded body of a message."""
    kind, _, body, _ = discv5.decode_outer(data)
    return DECODERS[kind](body)


def is_of_wrong_length(outcome: Fields) -> bool:
    """Tell whether a message that the peer accepts has a field that is shorter or longer than it should be."""
    name: str = outcome["name"]
    lengths = ("pong v4 5", "pong port 3", "findNode 3-byte", "findNodeFast", "getProviders")
    return name.startswith(lengths) and not name.endswith("missing")


def test_encoding(message: Fields) -> None:
    """The same fields give the same bytes; what the peer cannot encode is encoded and read back."""
    kind = KIND_NAMES[message["kind"]]
    value = VALUES[kind](message["fields"])
    request_id = _bytes(message["reqId"])
    encoded = discv5.encode_outer(kind, request_id, ENCODERS[kind](value), message["clientMode"])
    if "encoded" in message:
        assert encoded.hex() == message["encoded"]
    elif len(request_id) <= discv5.MAX_REQUEST_ID:
        assert DECODERS[kind](discv5.decode_outer(encoded)[2]) == value


def test_decoding(message: Fields) -> None:
    """The peer's bytes give the same fields, or are refused where the peer refuses them."""
    if "encoded" not in message:
        return
    data = _bytes(message["encoded"])
    if not message["decodes"]:
        with pytest.raises(DecodeError):
            decode(data)
        return
    kind, request_id, body, client_mode = discv5.decode_outer(data)
    assert kind == KIND_NAMES[message["kind"]]
    assert request_id.hex() == message["reqId"]
    assert client_mode == message["clientMode"]
    assert DECODERS[kind](body) == VALUES[kind](message["fields"])


def test_decode_outcomes(decode_outcome: Fields) -> None:
    """Hand-made messages are accepted and refused as at the peer, but for the differences listed above."""
    data = _bytes(decode_outcome["body"])
    refused = not decode_outcome["ok"] and decode_outcome["name"] not in ACCEPTED_HERE
    if refused or (decode_outcome["ok"] and is_of_wrong_length(decode_outcome)):
        with pytest.raises(DecodeError):
            decode(data)
        return
    kind, request_id, body, client_mode = discv5.decode_outer(data)
    value = DECODERS[kind](body)
    if decode_outcome["ok"]:
        assert KIND_NAMES[decode_outcome["kind"]] == kind
        assert request_id.hex() == decode_outcome["reqId"]
        assert client_mode == decode_outcome["clientMode"]
        check_value(value, decode_outcome)


def check_value(value: Any, outcome: Fields) -> None:
    """Compare a decoded body with the fields that an outcome names."""
    if "seq" in outcome:
        assert value == int(outcome["seq"])
    if "pong" in outcome:
        assert f"{value.host} {value.port} {value.seq}" == outcome["pong"]
    if "distances" in outcome:
        assert value == outcome["distances"]
    if "target" in outcome or "id" in outcome:
        assert value.hex() == outcome.get("target", outcome.get("id"))
    if "count" in outcome:
        assert [len([decode_record(r) for r in value.records]), value.total] == [
            outcome["count"],
            outcome["total"],
        ]
    if "protocol" in outcome:
        assert (value.protocol.hex(), value.request.hex()) == (outcome["protocol"], outcome["request"])
