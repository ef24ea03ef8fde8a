"""The wire machine as an actor: socket, and life of the node."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.errors import ConfigError
from codexdht.identity import PrivateKey
from codexdht.messages.internal import (
    Actor,
    Call,
    CallFailed,
    ClockSet,
    Close,
    Done,
    Failed,
    Hello,
    Life,
    LoadTable,
    LocalRecords,
    NodeLife,
    Open,
    Stats,
)
from codexdht.records import address_text, decode_record
from codexdht.wire.local import LocalState, parse_listen
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings

UNIX = 1_700_000_000
KEY = PrivateKey.generate(seeded(1))
LISTEN = "/ip4/127.0.0.1/udp/8090"


def test_boot_says_hello_and_the_record() -> None:
    """A fresh node signs its record with the time as seq, and says it to everybody, with Hello."""
    wire = WireMachine(KEY, LocalState(), WireSettings(listen=[LISTEN]), seeded(2))
    wire.handle(ClockSet(UNIX), 0.0)
    wire.boot(0.0)
    taken = wire.outbox.take()
    assert [actor for actor, _ in taken] == [Actor.ROUTING, Actor.STORE, Actor.API]
    for _, messages in taken:
        assert [type(m) for m in messages] == [LocalRecords, Hello]
        record = decode_record(messages[0].record)
        assert (record.seq, [*map(address_text, record.addresses)]) == (UNIX, [LISTEN])
        assert messages[0].provider_record == b""


def test_open_and_close(make_wire: Any) -> None:
    """Open is answered when the socket is bound, Close when it is closed; between them calls are served."""
    wire = make_wire()
    assert not wire.wants_socket
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    assert wire.wants_socket
    assert wire.said() == []
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    assert wire.said() == [Done(3, wire.told_record().encoded)]
    wire.handle(Open(Actor.API, 4, 1.0), 0.0)
    assert wire.said()[0].request == 4
    wire.handle(Call(1, 1.0, b"n" * 32, KEY.public_key, "127.0.0.1", 9, 1, b"\x08\x01"), 0.0)
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    assert not wire.wants_socket
    assert not wire.is_idle()
    wire.socket_closed(0.0)
    assert wire.is_idle()
    out = dict(wire.outbox.take())
    assert out == {Actor.API: [Done(5, None)], Actor.ROUTING: [CallFailed(1, "closed")]}


def test_open_behind_close(make_wire: Any) -> None:
    """What is to be closed is closed, and said to be, before it is opened again."""
    wire = make_wire()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    wire.said()
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    wire.handle(Open(Actor.API, 6, 1.0), 0.0)
    assert not wire.wants_socket
    wire.socket_closed(0.0)
    assert wire.said() == [Done(5, None)]
    assert wire.wants_socket
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    assert [answer.request for answer in wire.said()] == [6]


def test_close_before_the_socket_is_bound(make_wire: Any) -> None:
    """Nobody waits for an opening that will not come, and nothing is opened later."""
    wire = make_wire()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    failed, done = wire.said()
    assert (failed.request, failed.code, done) == (3, "not_running", Done(5, None))
    assert not wire.wants_socket


def test_calls_before_open(make_wire: Any) -> None:
    """A call while there is no socket fails at once."""
    wire = make_wire()
    wire.handle(Call(1, 1.0, b"n" * 32, KEY.public_key, "127.0.0.1", 9, 1, b""), 0.0)
    assert wire.said(Actor.ROUTING) == [CallFailed(1, "closed")]
    assert wire.datagrams == []


def test_taken_port(make_wire: Any) -> None:
    """If the socket cannot be bound, Open fails with the reason."""
    wire = make_wire()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_failed("port 8090 is taken", 0.0)
    assert wire.said() == [Failed(3, "internal", "port 8090 is taken")]
    assert not wire.wants_socket


def test_life_is_adopted(make_wire: Any) -> None:
    """A machine that knows nothing adopts the life that anybody knows; one that knows follows the API alone."""
    wire = make_wire()
    wire.handle(NodeLife(Actor.STORE, Life.UNKNOWN), 0.0)
    assert wire.life is Life.UNKNOWN
    wire.handle(NodeLife(Actor.ROUTING, Life.STARTED), 0.0)
    assert (wire.life, wire.wants_socket) == (Life.STARTED, True)
    wire.handle(NodeLife(Actor.ROUTING, Life.CLOSED), 0.0)
    assert wire.wants_socket
    wire.handle(NodeLife(Actor.API, Life.CLOSED), 0.0)
    assert (wire.life, wire.wants_socket) == (Life.CLOSED, False)


def test_hello_is_answered(make_wire: Any) -> None:
    """A restarted actor is told life and records."""
    wire = make_wire()
    wire.handle(Hello(Actor.STORE), 0.0)
    assert [type(m) for m in wire.said(Actor.STORE)] == [NodeLife, LocalRecords]


def test_stats_and_unexpected_messages(make_wire: Any) -> None:
    """Stats give counters and gauges; a message for another actor is counted among them."""
    wire = make_wire()
    wire.handle(LoadTable(Actor.API, 1, 1.0), 0.0)
    wire.handle(Stats(Actor.API, 2, 1.0), 0.0)
    [done] = wire.said()
    assert done.value["counters"] == {"unexpected_message": 1}
    assert done.value["gauges"]["sessions"] == 0


@pytest.mark.parametrize(
    "text",
    ["", "0.0.0.0:80", "/ip4/0.0.0.0/tcp/1", "/ip4/::/udp/1", "/ip4/1.2.3.4/udp/65536", "/ip6/x/udp/1"],
)
def test_bad_listen_address(text: str) -> None:
    """A listen address that is none is a configuration error that quotes it."""
    with pytest.raises(ConfigError, match="not a listen address"):
        parse_listen(text)


def test_listen_addresses() -> None:
    """Any interface and any port can be listened on."""
    assert parse_listen("/ip4/0.0.0.0/udp/0") == ("0.0.0.0", 0)
    assert parse_listen("/ip6/::/udp/8090") == ("::", 8090)


def test_where_the_sockets_are_is_logged(make_wire: Any) -> None:
    """One line a socket, with the port that the system gave."""
    wire = make_wire()
    wire.socket_bound([("0.0.0.0", 4711), ("::", 4712)], 0.0)
    lines = [(line.level, line.event, line.fields) for line in wire.outbox.events]
    assert lines == [
        ("info", "listening", {"host": "0.0.0.0", "port": 4711}),
        ("info", "listening", {"host": "::", "port": 4712}),
    ]
