"""The blocking client against a real socket."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import zmq

from codexdht.client import Added, AddedMany, Client, CurveKeys, Key, Pong, default_endpoint
from codexdht.client.protocol import Call
from codexdht.client.sync import _Connection
from codexdht.errors import (
    API_ERRORS,
    InternalError,
    InvalidParams,
    InvalidRecord,
    NotRunning,
    RequestTimeout,
    UnknownMethod,
)
from codexdht.messages import internal
from codexdht.messages.internal import Failed, Life
from codexdht.testing.scripted_node import OWN, PEERS, SILENT, ScriptedNode

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
ID = bytes(range(32))
Serve = Callable[..., ScriptedNode]


def test_every_method(client: Client) -> None:
    """Each call has its typed result."""
    assert client.record().uri == OWN.uri
    assert client.record("provider") is None
    assert client.update_record(addresses=["/ip4/1.2.3.4/udp/3"]).seq > OWN.seq
    assert client.add_provider(cid=CID) == Added(4, True)
    assert client.add_providers([CID, ID]) == AddedMany(8, True, [4, 4])
    assert [record.peer_id for record in client.get_providers(CID, limit=2).providers] == [
        peer.peer_id for peer in PEERS[:2]
    ]
    assert [record.spr for record in client.get_providers_local(id=ID).providers] == [PEERS[0].encoded]
    assert client.remove_providers_local(PEERS[0].peer_id) == 2
    assert client.ping(PEERS[0].uri) == Pong(7, "/ip4/192.0.2.1/udp/8090", 0.012)
    assert [record.node_id for record in client.lookup(ID).nodes] == [peer.node_id for peer in PEERS]
    assert client.talk(PEERS[0].uri, b"p", b"r") == b"p:r"
    assert client.table()[0].last_seen == 3.0
    assert client.stats().actors["wire"].counters == {"packets": 3}
    client.withdraw([CID])
    client.close_wait()
    client.open()
    client.start()
    assert client.stats().life == "started"


def test_a_record_is_a_node_and_a_provider(client: Client) -> None:
    """What a call returns, another takes."""
    record = client.resolve(peer_id=PEERS[1].peer_id)
    assert record is not None
    assert client.ping(record).seq == 7
    assert client.add_provider(CID, record=record).complete


def test_no_result_is_none(client: Client) -> None:
    """An unknown node is None, not an error."""
    assert client.resolve(ID) is None


@pytest.mark.parametrize(
    ("given", "wire"),
    [
        (ID, {"id": ID}),
        (ID.hex(), {"id": ID.hex()}),
        ("0x" + ID.hex(), {"id": "0x" + ID.hex()}),
        (CID, {"cid": CID}),
        (b"\x01" * 36, {"cid": b"\x01" * 36}),
        ("0x" + "ab" * 20, {"address": "0x" + "ab" * 20}),
        (bytes(20), {"address": bytes(20)}),
        (Key.cid("ab" * 32), {"cid": "ab" * 32}),
    ],
)
def test_what_a_key_is_taken_for(given: Any, wire: dict[str, Any]) -> None:
    """Bare keys are told apart by their form; an explicit one is what it says."""
    assert Key.of(given).wire == wire


@pytest.mark.parametrize(
    "arguments", [((), {}), ((ID,), {"cid": CID}), ((), {"cid": CID, "id": ID}), ((5,), {})]
)
def test_exactly_one_key(client: Client, arguments: tuple[Any, Any]) -> None:
    """No key, two keys, and what is no key are refused before anything is sent."""
    positional, named = arguments
    with pytest.raises(InvalidParams):
        client.lookup(*positional, **named)


def test_errors_have_classes(client: Client) -> None:
    """A code becomes its exception, with the node's message."""
    with pytest.raises(InvalidParams, match="CID"):
        client.get_providers("no cid")
    with pytest.raises(InvalidRecord, match="hold"):
        client.add_provider(CID, record=b"junk")
    assert client.record().uri == OWN.uri


@pytest.mark.parametrize("code", sorted(API_ERRORS))
def test_every_code_of_the_api(serve: Serve, endpoint: str, code: str) -> None:
    """One exception class for each code."""
    serve(script={internal.Lookup: lambda _: Failed(0, code, "why")})
    with Client(endpoint) as client, pytest.raises(API_ERRORS[code], match="why"):
        client.lookup(ID)


def test_replies_that_make_no_sense() -> None:
    """A reply of another program is an error, never a crash."""
    call: Call[int] = Call("x", {}, int)
    for reply in (
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"ok": True, "result": "text"}),
        msgspec.msgpack.encode([]),
    ):
        with pytest.raises(InternalError, match="not understood"):
            call.unpack(reply)
    with pytest.raises(InternalError):
        call.unpack(msgspec.msgpack.encode({"ok": False}))
    with pytest.raises(UnknownMethod):
        call.unpack(msgspec.msgpack.encode({"ok": False, "error": {"code": "unknown_method", "message": ""}}))


def test_no_node(endpoint: str) -> None:
    """Where nobody listens a call ends with a clear error within its time."""
    with Client(endpoint, timeout=0.1) as client, pytest.raises(NotRunning, match="no node answers"):
        client.record()


def test_connect_timeout_is_sooner(endpoint: str) -> None:
    """A patient call still learns soon that nobody is there."""
    with Client(endpoint, timeout=60, connect_timeout=0.05) as client, pytest.raises(NotRunning):
        client.record()


def test_a_node_that_comes_up_meanwhile(serve: Serve, endpoint: str) -> None:
    """A call that was made too early is answered as soon as the node is there."""
    with Client(endpoint, timeout=10) as client:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(client.record().uri))
        thread.start()
        serve()
        thread.join(10)
        assert results == [OWN.uri]


def test_timeout_of_a_node_that_does_not_answer(serve: Serve, endpoint: str) -> None:
    """The node's own `timeout` arrives, and the client serves the next call."""
    serve(script={internal.Lookup: lambda _: SILENT})
    with Client(endpoint) as client:
        with pytest.raises(RequestTimeout, match="routing"):
            client.lookup(ID, timeout=0.1)
        assert client.record().uri == OWN.uri


def test_something_that_never_replies(endpoint: str) -> None:
    """A socket that takes requests and says nothing cannot hold a call up."""
    with zmq.Context.instance().socket(zmq.ROUTER) as mute:
        mute.bind(endpoint)
        with Client(endpoint) as client, pytest.raises(RequestTimeout, match="did not answer record"):
            client.record(timeout=0.05)
        mute.close(0)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_node_that_is_restarted(endpoint: str, repeatable: bool) -> None:
    """A request that was lost with its process is sent again to the next one, but for `talk`."""
    kind = internal.Lookup if repeatable else internal.Talk
    asked = threading.Event()

    def be_silent(_: Any) -> object:
        asked.set()
        return SILENT

    results: list[Any] = []

    def call() -> None:
        try:
            results.append(len(client.lookup(ID).nodes) if repeatable else client.talk(ID, b"", b""))
        except RequestTimeout as error:
            results.append(str(error))

    with Client(endpoint, timeout=10) as client:
        thread = threading.Thread(target=call)
        with ScriptedNode(endpoint, script={kind: be_silent}):
            thread.start()
            assert asked.wait(10)
        with ScriptedNode(endpoint):
            thread.join(10)
    assert results == [4] if repeatable else "stopped before it answered" in results[0]


def test_a_node_that_is_restarted_late_in_a_call(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect_timeout` counts from when the connection was lost, not from the start of the call."""
    late = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + late[0])
    monkeypatch.setattr("codexdht.client.sync.time", clock)
    waits: list[float] = []
    wait = _Connection.wait

    def wait_and_note(connection: _Connection, seconds: float) -> None:
        waits.append(seconds)
        wait(connection, seconds)

    monkeypatch.setattr(_Connection, "wait", wait_and_note)
    asked = threading.Event()
    results: list[Any] = []

    def be_silent(_: Any) -> object:
        late[0] = 20.0
        asked.set()
        return SILENT

    def call() -> None:
        try:
            results.append(len(client.lookup(ID).nodes))
        except NotRunning as error:
            results.append(str(error))

    with Client(endpoint, timeout=60, connect_timeout=10) as client:
        thread = threading.Thread(target=call)
        with ScriptedNode(endpoint, script={internal.Lookup: be_silent}):
            thread.start()
            assert asked.wait(10)
        with ScriptedNode(endpoint):
            thread.join(10)
    assert results == [4]
    assert min(waits) > 0


@pytest.mark.parametrize("is_back", [True, False])
def test_a_loss_is_noticed_however_late_one_looks(client: Client, is_back: bool) -> None:
    """A node that went and came back between two looks has forgotten the request as well."""
    client.record()
    connection = client._connection
    assert connection is not None
    with zmq.Context.instance().socket(zmq.PAIR) as news, zmq.Context.instance().socket(zmq.PAIR) as monitor:
        news.bind("inproc://news")
        monitor.connect("inproc://news")
        connection._monitor.close(0)
        connection._monitor = monitor
        for event in (zmq.EVENT_DISCONNECTED, *[zmq.EVENT_HANDSHAKE_SUCCEEDED] * is_back):
            news.send_multipart((event.to_bytes(2, "little") + bytes(4), b""))
        assert connection.is_lost()
        assert connection.is_connected is is_back
        assert not connection.is_lost()


def test_a_closed_node(serve: Serve, endpoint: str) -> None:
    """`not_running` of the node is NotRunning, too."""
    serve(life=Life.CLOSED)
    with Client(endpoint) as client, pytest.raises(NotRunning, match="open"):
        client.get_providers(CID)


def test_threads_take_turns(client: Client) -> None:
    """Calls of several threads on one client do not get in each other's way."""
    results: list[int] = []

    def work() -> None:
        results.extend(len(client.lookup(ID).nodes) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [4] * 80


def test_an_interrupted_call(serve: Serve, endpoint: str) -> None:
    """Ctrl-C in the middle of a call ends it at once, and the client serves the next one."""

    def interrupt(_: Any) -> object:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return SILENT

    serve(script={internal.Lookup: interrupt})
    with Client(endpoint) as client:
        with pytest.raises(KeyboardInterrupt):
            client.lookup(ID, timeout=20)
        assert client.record().uri == OWN.uri


@pytest.mark.parametrize("endpoint", ["", "nonsense", "ipc://" + "x" * 200, "http://localhost:80"])
def test_bad_endpoints(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad endpoint is the caller's mistake, told by the first call; an empty one is the default."""
    monkeypatch.setenv("CODEXDHT_NODE__RUN_DIR", "/nowhere")
    with Client(endpoint, timeout=0.05) as client, pytest.raises((InvalidParams, NotRunning)):
        client.record()


def test_the_default_endpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is where a node of the same environment listens, whether or not its data directory is named."""
    monkeypatch.chdir(folder)
    assert default_endpoint() == f"ipc://{folder}/data/run/api.sock"
    assert default_endpoint("other") == f"ipc://{folder}/other/run/api.sock"
    monkeypatch.setenv("CODEXDHT_NODE__RUN_DIR", "here")
    assert default_endpoint() == default_endpoint("other") == f"ipc://{folder}/here/api.sock"


def test_tcp(serve: Serve) -> None:
    """The same over TCP."""
    node = serve(at="tcp://127.0.0.1:*")
    with Client(node.endpoint) as client:
        assert client.record().uri == OWN.uri


def test_curve(serve: Serve) -> None:
    """With CURVE keys a client gets in; without, it gets nothing."""
    server_public, server_secret = zmq.curve_keypair()

    def configure(router: zmq.Socket[bytes]) -> None:
        router.set(zmq.CURVE_SERVER, 1)
        router.set(zmq.CURVE_SECRETKEY, server_secret)

    node = serve(at="tcp://127.0.0.1:*", configure=configure)
    with Client(node.endpoint, curve=CurveKeys(server_public, *zmq.curve_keypair())) as client:
        assert client.record().uri == OWN.uri
    with Client(node.endpoint, timeout=0.2) as stranger, pytest.raises(NotRunning):
        stranger.record()


def test_bad_curve_keys() -> None:
    """A key that is none is the caller's mistake, told by the first call."""
    keys = CurveKeys(b"short", *zmq.curve_keypair())
    with Client("tcp://127.0.0.1:9", curve=keys) as client, pytest.raises(InvalidParams, match="40 Z85"):
        client.record()
