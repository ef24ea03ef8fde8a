"""The user API of a running node, from plain sockets: ipc and tcp, CURVE, and every malformed request."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq
import zmq.auth

from codexdht.node import Node, new_protocol


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="cdx-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def keys(home: Path) -> Path:
    """CURVE keys: of the server, of a client that is allowed, and of one that is not."""
    allowed = home / "allowed"
    allowed.mkdir()
    for name in ("server", "friend", "stranger"):
        zmq.auth.create_certificates(home, name)
    shutil.copy(home / "friend.key", allowed)
    return home


@pytest.fixture(scope="module")
def node(home: Path, keys: Path) -> Iterator[Node]:
    """One node for all: it must be none the worse for any of these tests."""
    with new_protocol(
        listen="/ip4/127.0.0.1/udp/0",
        data_dir=home / "n",
        settings={
            "api.endpoints": [f"ipc://{home}/n/run/api.sock", f"tcp://127.0.0.1:{PORT}"],
            "api.curve_server_key": keys / "server.key_secret",
            "api.curve_clients": keys / "allowed",
        },
    ) as running:
        running.open()
        yield running


PORT = 20_000 + os.getpid() % 20_000


@pytest.fixture
def user(node: Node) -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.set(zmq.RCVTIMEO, 5000)
        socket.connect(f"ipc://{node.config.run_dir}/api.sock")
        yield socket


def ask(socket: zmq.Socket, method: str, **params: Any) -> dict[str, Any]:
    socket.send(msgpack.packb({"method": method, "params": params}))
    return msgpack.unpackb(socket.recv())


MALFORMED = {
    "not MessagePack": ([b"\xc1"], "bad_request"),
    "empty": ([b""], "bad_request"),
    "not a map": ([msgpack.packb([1, 2])], "bad_request"),
    "a number": ([msgpack.packb(7)], "bad_request"),
    "no method": ([msgpack.packb({})], "bad_request"),
    "method is no text": ([msgpack.packb({"method": 5})], "bad_request"),
    "unknown method": ([msgpack.packb({"method": "drop"})], "unknown_method"),
    "timeout is no number": ([msgpack.packb({"method": "record", "timeout": "soon"})], "bad_request"),
    "timeout is negative": ([msgpack.packb({"method": "record", "timeout": -1})], "bad_request"),
    "timeout is too long": ([msgpack.packb({"method": "record", "timeout": 3600})], "bad_request"),
    "timeout is not a number at all": (
        [msgpack.packb({"method": "record", "timeout": float("nan")})],
        "bad_request",
    ),
    "params is a list": ([msgpack.packb({"method": "record", "params": [1]})], "bad_request"),
    "missing key": ([msgpack.packb({"method": "getProviders", "params": {}})], "invalid_params"),
    "bad CID": ([msgpack.packb({"method": "getProviders", "params": {"cid": "zzz0"}})], "invalid_params"),
    "short id": ([msgpack.packb({"method": "getProviders", "params": {"id": b"1"}})], "invalid_params"),
    "two keys": (
        [msgpack.packb({"method": "lookup", "params": {"id": b"1" * 32, "cid": "z"}})],
        "invalid_params",
    ),
    "unknown parameter": ([msgpack.packb({"method": "stats", "params": {"x": 1}})], "invalid_params"),
    "bad record": ([msgpack.packb({"method": "ping", "params": {"spr": b"\x00"}})], "invalid_record"),
    "bad record text": (
        [msgpack.packb({"method": "updateRecord", "params": {"spr": "spr:x"}})],
        "invalid_record",
    ),
    "bad peer id": ([msgpack.packb({"method": "resolve", "params": {"peerId": "16U"}})], "invalid_params"),
    "10 MB of zeros": ([bytes(10_000_000)], "bad_request"),
    "extra frames": ([msgpack.packb({"method": "record"}), b"extra"], "bad_request"),
    "deep nesting": ([b"\x91" * 100_000], "bad_request"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_request_gets_its_error_and_the_next_one_works(user: zmq.Socket, name: str) -> None:
    """One reply to each, with the right code and a message; nothing is lost by it."""
    frames, code = MALFORMED[name]
    user.send_multipart(frames)
    reply = msgpack.unpackb(user.recv())
    assert reply["ok"] is False
    assert reply["error"]["code"] == code, reply
    assert reply["error"]["message"]
    assert ask(user, "record")["ok"] is True


def test_clients_that_number_their_requests_get_the_number_back(node: Node) -> None:
    """REQ_CORRELATE adds a frame before the delimiter; it is echoed, or the client would drop the reply."""
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.set(zmq.REQ_RELAXED, 1)
        socket.set(zmq.REQ_CORRELATE, 1)
        socket.set(zmq.RCVTIMEO, 5000)
        socket.connect(f"ipc://{node.config.run_dir}/api.sock")
        assert ask(socket, "record")["ok"]
        assert ask(socket, "stats")["ok"]


def curve_user(context: zmq.Context, keys: Path, name: str) -> zmq.Socket:
    socket = context.socket(zmq.REQ)
    socket.curve_publickey, socket.curve_secretkey = zmq.auth.load_certificate(keys / f"{name}.key_secret")
    socket.curve_serverkey = zmq.auth.load_certificate(keys / "server.key")[0]
    socket.connect(f"tcp://127.0.0.1:{PORT}")
    return socket


def test_an_allowed_key_is_served_over_tcp(node: Node, keys: Path) -> None:
    """With CURVE keys the API may leave the machine."""
    with zmq.Context() as context, curve_user(context, keys, "friend") as socket:
        socket.set(zmq.RCVTIMEO, 5000)
        assert ask(socket, "record")["ok"]


def test_a_key_that_is_not_allowed_gets_nothing(node: Node, keys: Path) -> None:
    """Not even an error: the handshake fails, which the client's monitor is told."""
    with zmq.Context() as context, curve_user(context, keys, "stranger") as socket:
        monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.send(msgpack.packb({"method": "record"}))
        assert monitor.poll(5000), "no handshake was tried"
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        assert event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        socket.disable_monitor()
        monitor.close()
        socket.set(zmq.LINGER, 0)
