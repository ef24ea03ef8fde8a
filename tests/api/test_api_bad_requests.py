"""Malformed requests: each gets exactly its error code, and the next request works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.api.machine import ApiMachine
from codexdht.api.methods import NAMES
from codexdht.api.settings import ApiSettings
from codexdht.entropy import seeded
from codexdht.errors import API_ERRORS
from codexdht.messages.internal import Actor, Life, LocalRecords, NodeLife
from codexdht.testing.scripted_node import OWN, PEERS, ScriptedActors

pack = msgspec.msgpack.encode
MakeBench = Callable[..., Any]
ID = bytes(32)

BAD_FRAMES = {
    "nothing at all": [],
    "an empty frame": [b""],
    "two frames": [pack({"method": "record"}), b"more"],
    "many frames": [b"x"] * 100,
    "garbage": [b"\xc1\xff\xfe"],
    "text": [b"GET / HTTP/1.1\r\n\r\n"],
    "10 MB of zeros": [bytes(10_000_000)],
    "just too large": [pack({"method": "x" * 1024 * 1024})],
    "truncated": [pack({"method": "record"})[:-1]],
    "trailing bytes": [pack({"method": "record"}) + b"\0"],
    "announced, not there": [b"\xdf\xff\xff\xff\xff"],
    "not a map": [pack(["record"])],
    "a number": [pack(7)],
    "nil": [pack(None)],
    "no method": [pack({"params": {}})],
    "method of a wrong type": [pack({"method": 5})],
    "method not text": [b"\x81\xa6method\xa1\xff"],
    "an unknown field": [pack({"method": "record", "id": 1})],
    "params a list": [pack({"method": "record", "params": []})],
    "params text": [pack({"method": "record", "params": "x"})],
    "timeout text": [pack({"method": "record", "timeout": "1"})],
    "timeout true": [pack({"method": "record", "timeout": True})],
    "timeout zero": [pack({"method": "record", "timeout": 0})],
    "timeout negative": [pack({"method": "record", "timeout": -1.5})],
    "timeout not a number": [pack({"method": "record", "timeout": float("nan")})],
    "timeout infinite": [pack({"method": "record", "timeout": float("inf")})],
    "timeout over a minute": [pack({"method": "record", "timeout": 60.5})],
    "keys that are maps": [b"\x81\x80\x01"],
    "deeply nested": [b"\x82\xa6method\xa6record\xa6params\x81\xa4kind" + b"\x91" * 100_000 + b"\x80"],
}


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frames(bench: MakeBench, name: str) -> None:
    """What is not a request is `bad_request`, with a message, and the next request works."""
    node = bench()
    node.send_raw(*BAD_FRAMES[name])
    [reply] = node.take()
    assert reply["ok"] is False
    assert reply["error"]["code"] == "bad_request"
    assert len(reply["error"]["message"]) < 400
    assert node.ask("record")["ok"] is True


@pytest.mark.parametrize("params", [b"\xc0", b"\x80", b"\xde\0\0", b"\xdf\0\0\0\0"])
def test_every_way_to_write_no_parameters(bench: MakeBench, params: bytes) -> None:
    """Languages differ in what they send for an empty map: nil, or a length of one, three or five bytes."""
    node = bench()
    node.send_raw(b"\x82\xa6method\xa6record\xa6params" + params)
    assert node.codes() == ["ok"]


BAD_PARAMS: list[tuple[str, dict[str, Any], str, str]] = [
    ("nope", {}, "unknown_method", "getProviders"),
    ("", {}, "unknown_method", "no method"),
    ("x" * 10_000, {}, "unknown_method", "xxx"),
    ("open", {"now": True}, "invalid_params", "now"),
    ("stats", {"x": 1}, "invalid_params", "x"),
    ("record", {"kind": "both"}, "invalid_params", "kind"),
    ("record", {"kind": 1}, "invalid_params", "kind"),
    ("record", {"other": 1}, "invalid_params", "other"),
    ("getProviders", {}, "invalid_params", "key"),
    ("getProviders", {"key": None}, "invalid_params", "key"),
    ("getProviders", {"key": 5}, "invalid_params", "$.key"),
    ("getProviders", {"key": {}}, "invalid_params", "a key is"),
    ("getProviders", {"key": {"hash": ID}}, "invalid_params", "$.key"),
    ("getProviders", {"key": {7: ID}}, "invalid_params", "a key is"),
    ("getProviders", {"key": {"id": ID, "cid": "x"}}, "invalid_params", "$.key"),
    ("getProviders", {"key": {"id": ID}, "id": ID}, "invalid_params", "exactly one"),
    ("getProviders", {"key": {"id": 5}}, "invalid_params", "$.key"),
    ("getProviders", {"key": {"id": ID[1:]}}, "invalid_params", "31"),
    ("getProviders", {"key": {"id": "zz"}}, "invalid_params", "hexadecimal"),
    ("getProviders", {"key": {"cid": "not a cid"}}, "invalid_params", "CID"),
    ("getProviders", {"key": {"cid": "z" * 600}}, "invalid_params", "512"),
    ("getProviders", {"cid": b""}, "invalid_params", "CID"),
    ("getProviders", {"key": {"address": "0x12"}}, "invalid_params", "20"),
    ("getProviders", {"id": ID, "limit": 0}, "invalid_params", "limit"),
    ("getProviders", {"id": ID, "limit": "5"}, "invalid_params", "limit"),
    ("getProviders", {"id": ID, "limit": 2**63}, "invalid_params", "limit"),
    ("addProviders", {"keys": []}, "invalid_params", "keys"),
    ("addProviders", {"keys": {}}, "invalid_params", "keys"),
    ("addProviders", {"keys": [{"id": ID}] * 2001}, "invalid_params", "2000"),
    ("addProviders", {"keys": [{"id": ID}, {"id": 1}]}, "invalid_params", "$.keys[1]"),
    ("addProvider", {"id": ID, "spr": b"junk"}, "invalid_record", "record"),
    ("addProvider", {"id": ID, "spr": b""}, "invalid_record", "record"),
    ("addProvider", {"id": ID, "spr": "spr:???"}, "invalid_record", "base64"),
    ("addProvider", {"id": ID, "spr": "enr:abc"}, "invalid_record", "spr:"),
    ("addProvider", {"id": ID, "spr": 5}, "invalid_params", "$.spr"),
    ("addProvider", {"id": ID, "spr": OWN.encoded[:-1] + b"\0"}, "invalid_record", "signature"),
    ("updateRecord", {}, "invalid_params", "either"),
    ("updateRecord", {"spr": OWN.encoded, "addresses": ["/ip4/1.2.3.4/udp/1"]}, "invalid_params", "either"),
    ("updateRecord", {"addresses": []}, "invalid_params", "addresses"),
    ("updateRecord", {"addresses": ["1.2.3.4:80"]}, "invalid_params", "$.addresses[0]"),
    ("updateRecord", {"addresses": "x"}, "invalid_params", "addresses"),
    ("removeProvidersLocal", {}, "invalid_params", "peerId"),
    ("removeProvidersLocal", {"peerId": "16Uiu2"}, "invalid_params", "$.peerId"),
    ("removeProvidersLocal", {"peerId": "1" * 100_000}, "invalid_params", "512"),
    ("resolve", {}, "invalid_params", "exactly one"),
    ("resolve", {"id": ID, "peerId": PEERS[0].peer_id}, "invalid_params", "exactly one"),
    ("record", {"kind": "x" * 100_000}, "invalid_params", "record: Invalid enum value 'xxx"),
    ("ping", {}, "invalid_params", "exactly one"),
    ("ping", {"record": {"uri": "x"}}, "invalid_params", "$.record"),
    ("talk", {"id": ID}, "invalid_params", "protocol"),
    ("talk", {"id": ID, "protocol": 5, "request": b""}, "invalid_params", "$.protocol"),
]


@pytest.mark.parametrize(("method", "params", "code", "hint"), BAD_PARAMS)
def test_bad_params(bench: MakeBench, method: str, params: dict[str, Any], code: str, hint: str) -> None:
    """Each mistake has its code, and a message that says where and what; no actor is troubled."""
    node = bench()
    seen = len(node.actors.seen)
    reply = node.ask(method, **params)
    assert reply["error"]["code"] == code, reply
    assert hint in reply["error"]["message"]
    assert len(reply["error"]["message"]) < 500
    assert len(node.actors.seen) == seen


def test_missing_params_and_nil_params_are_no_params(bench: MakeBench) -> None:
    """Some languages send nil for nothing."""
    node = bench()
    node.send_raw(pack({"method": "record"}))
    node.send_raw(pack({"method": "record", "params": None}))
    assert node.codes() == ["ok", "ok"]


# Anything at all ----------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=80)
    | st.text(max_size=80)
    | st.sampled_from(
        [ID, OWN.encoded, OWN.uri, OWN.peer_id, "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"]
    )
)
FIELDS = [
    "key",
    "keys",
    "id",
    "cid",
    "address",
    "spr",
    "record",
    "peerId",
    "kind",
    "limit",
    "addresses",
    "protocol",
    "request",
]
names = st.sampled_from([*FIELDS, "timeout", "params", "method"]) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
requests = st.fixed_dictionaries(
    {"method": st.sampled_from(NAMES) | values},
    optional={
        "params": st.dictionaries(st.sampled_from(FIELDS), values, max_size=4) | values,
        "timeout": values,
    },
)


def one_reply(frames: list[bytes]) -> dict[str, Any]:
    """Give a running node one request, let all its time pass, and return its only reply."""
    machine = ApiMachine(ApiSettings(), autostart=False, entropy=seeded(1))
    actors = ScriptedActors(machine, Life.STARTED)
    for actor in (Actor.WIRE, Actor.ROUTING):
        machine.handle(NodeLife(actor, Life.STARTED), 0.0)
    machine.handle(LocalRecords(OWN.encoded, b""), 0.0)
    machine.receive_request((b"c", b""), frames, 0.0)
    actors.settle(0.0)
    machine.tick(61.0)
    actors.settle(61.0)
    [(envelope, reply)] = machine.replies
    assert envelope == (b"c", b"")
    assert machine.is_idle()
    decoded: dict[str, Any] = msgspec.msgpack.decode(reply)
    assert decoded["ok"] is True or decoded["error"]["code"] in API_ERRORS
    assert decoded["ok"] is True or decoded["error"]["code"] != "internal"
    return decoded


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_any_bytes_get_one_reply(frames: list[bytes]) -> None:
    """No bytes raise, and every request has exactly one reply."""
    one_reply(frames)


@given(values)
def test_any_object_gets_one_reply(value: Any) -> None:
    """The same for anything that MessagePack carries."""
    one_reply([pack(value)])


@given(requests)
def test_anything_that_looks_like_a_request_gets_one_reply(request: dict[str, Any]) -> None:
    """The same for requests with wrong contents."""
    one_reply([pack(request)])
