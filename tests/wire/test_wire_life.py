"""The wire machine as an actor: socket, life of the node, and this node's records."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.errors import ConfigError, DecodeError, StorageFull
from codexdht.identity import PrivateKey
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
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
    UpdateRecord,
)
from codexdht.records import SignedPeerRecord, address_text, decode_record, parse_address, sign_record
from codexdht.wire.local import LocalState, decode_state, encode_state, parse_listen
from codexdht.wire.machine import WireMachine
from codexdht.wire.settings import WireSettings

UNIX = 1_700_000_000
KEY = PrivateKey.generate(seeded(1))
LISTEN = "/ip4/127.0.0.1/udp/8090"


class Disk:
    """What a wire machine has saved; while it is full, nothing more."""

    def __init__(self) -> None:
        self.saved = b""
        self.is_full = False

    def save(self, data: bytes) -> None:
        if self.is_full:
            raise StorageFull("no space left")
        self.saved = data


def booted(
    state: LocalState | None = None, unix: float = UNIX, disk: Disk | None = None, **settings: Any
) -> WireMachine:
    """Return a machine after `boot`, with nothing left in its outbox."""
    settings = {"listen": [LISTEN], **settings}
    disk = disk or Disk()
    wire = WireMachine(KEY, state or LocalState(), WireSettings(**settings), seeded(2), save=disk.save)
    wire.disk = disk  # type: ignore[attr-defined]
    wire.handle(ClockSet(unix), 0.0)
    wire.boot(0.0)
    wire.outbox.take()
    return wire


def said(wire: WireMachine, actor: Actor = Actor.API) -> list[Any]:
    return dict(wire.outbox.take()).get(actor, [])


def saved(wire: WireMachine) -> LocalState:
    return decode_state(wire.disk.saved)  # type: ignore[attr-defined]


def update(
    wire: WireMachine, record: bytes = b"", addresses: list[str] | None = None, provider: bool = False
) -> Any:
    """Send UpdateRecord; return what the asker is answered."""
    binary = [parse_address(text) for text in addresses or []]
    wire.handle(UpdateRecord(Actor.API, 7, 1.0, provider, record, binary), 1.0)
    return said(wire)[-1]


def record_of(wire: WireMachine) -> SignedPeerRecord:
    """Return the DHT record as another actor is told it."""
    wire.handle(Hello(Actor.STORE), 0.0)
    return decode_record(said(wire, Actor.STORE)[-1].record)


def texts(record: SignedPeerRecord) -> list[str]:
    return [address_text(address) for address in record.addresses]


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
        assert (record.seq, texts(record)) == (UNIX, [LISTEN])
        assert messages[0].provider_record == b""


def test_open_and_close() -> None:
    """Open is answered when the socket is bound, Close when it is closed; between them calls are served."""
    wire = booted()
    assert not wire.wants_socket
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    assert wire.wants_socket
    assert said(wire) == []
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    assert said(wire) == [Done(3, record_of(wire).encoded)]
    wire.handle(Open(Actor.API, 4, 1.0), 0.0)
    assert said(wire)[0].request == 4
    wire.handle(Call(1, 1.0, b"n" * 32, KEY.public_key, "127.0.0.1", 9, 1, b"\x08\x01"), 0.0)
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    assert not wire.wants_socket
    assert not wire.is_idle()
    wire.socket_closed(0.0)
    assert wire.is_idle()
    out = dict(wire.outbox.take())
    assert out == {Actor.API: [Done(5, None)], Actor.ROUTING: [CallFailed(1, "closed")]}


def test_open_behind_close() -> None:
    """What is to be closed is closed, and said to be, before it is opened again."""
    wire = booted()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    said(wire)
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    wire.handle(Open(Actor.API, 6, 1.0), 0.0)
    assert not wire.wants_socket
    wire.socket_closed(0.0)
    assert said(wire) == [Done(5, None)]
    assert wire.wants_socket
    wire.socket_bound([("127.0.0.1", 8090)], 0.0)
    assert [answer.request for answer in said(wire)] == [6]


def test_close_before_the_socket_is_bound() -> None:
    """Nobody waits for an opening that will not come, and nothing is opened later."""
    wire = booted()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.handle(Close(Actor.API, 5, 1.0), 0.0)
    failed, done = said(wire)
    assert (failed.request, failed.code, done) == (3, "not_running", Done(5, None))
    assert not wire.wants_socket


def test_calls_before_open() -> None:
    """A call while there is no socket fails at once."""
    wire = booted()
    wire.handle(Call(1, 1.0, b"n" * 32, KEY.public_key, "127.0.0.1", 9, 1, b""), 0.0)
    assert said(wire, Actor.ROUTING) == [CallFailed(1, "closed")]
    assert wire.datagrams == []


def test_taken_port() -> None:
    """If the socket cannot be bound, Open fails with the reason."""
    wire = booted()
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_failed("port 8090 is taken", 0.0)
    assert said(wire) == [Failed(3, "internal", "port 8090 is taken")]
    assert not wire.wants_socket


def test_life_is_adopted() -> None:
    """A machine that knows nothing adopts the life that anybody knows; one that knows follows the API alone."""
    wire = booted()
    wire.handle(NodeLife(Actor.STORE, Life.UNKNOWN), 0.0)
    assert wire.life is Life.UNKNOWN
    wire.handle(NodeLife(Actor.ROUTING, Life.STARTED), 0.0)
    assert (wire.life, wire.wants_socket) == (Life.STARTED, True)
    wire.handle(NodeLife(Actor.ROUTING, Life.CLOSED), 0.0)
    assert wire.wants_socket
    wire.handle(NodeLife(Actor.API, Life.CLOSED), 0.0)
    assert (wire.life, wire.wants_socket) == (Life.CLOSED, False)


def test_hello_is_answered() -> None:
    """A restarted actor is told life and records."""
    wire = booted()
    wire.handle(Hello(Actor.STORE), 0.0)
    assert [type(m) for m in said(wire, Actor.STORE)] == [NodeLife, LocalRecords]


def test_stats_and_unexpected_messages() -> None:
    """Stats give counters and gauges; a message for another actor is counted among them."""
    wire = booted()
    wire.handle(LoadTable(Actor.API, 1, 1.0), 0.0)
    wire.handle(Stats(Actor.API, 2, 1.0), 0.0)
    [done] = said(wire)
    assert done.value["counters"] == {"unexpected_message": 1}
    assert done.value["gauges"]["sessions"] == 0


@pytest.mark.parametrize(
    ("announce", "listen", "bound", "expected"),
    [
        ("auto", LISTEN, ("127.0.0.1", 8090), [LISTEN]),
        ("auto", "/ip4/0.0.0.0/udp/8090", ("0.0.0.0", 8090), []),
        ("auto", "/ip4/127.0.0.1/udp/0", ("127.0.0.1", 4711), ["/ip4/127.0.0.1/udp/4711"]),
        ("auto", "/ip6/::1/udp/5", ("::1", 5), ["/ip6/::1/udp/5"]),
        (["/ip4/1.2.3.4/udp/0"], LISTEN, ("127.0.0.1", 8090), ["/ip4/1.2.3.4/udp/8090"]),
        (["/ip4/1.2.3.4/udp/9", "/ip4/1.2.3.4/tcp/7"], LISTEN, ("127.0.0.1", 8090), None),
    ],
)
def test_announced_addresses(
    announce: Any, listen: str, bound: tuple[str, int], expected: list[str] | None
) -> None:
    """The record announces what the configuration says, with the bound port where it leaves the port open."""
    wire = booted(announce=announce, listen=[listen])
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([bound], 0.0)
    assert texts(record_of(wire)) == (announce if expected is None else expected)


def test_a_port_that_the_system_chooses() -> None:
    """Before it is known the record holds no address; when it is, everybody is told."""
    wire = booted(listen=["/ip4/127.0.0.1/udp/0"])
    assert texts(record_of(wire)) == []
    wire.socket_bound([("127.0.0.1", 4711)], 0.0)
    told = [m for _, messages in wire.outbox.take() for m in messages if isinstance(m, LocalRecords)]
    assert [texts(decode_record(m.record)) for m in told] == [["/ip4/127.0.0.1/udp/4711"]] * 3


def test_record_without_addresses_has_a_seq() -> None:
    """A node that does not know its address signs a record all the same, with the time as seq."""
    assert record_of(booted(listen=["/ip4/0.0.0.0/udp/8090"])).seq == UNIX


def test_each_announced_address_gets_the_port_of_its_family() -> None:
    """IPv4 and IPv6 sockets on any free port have ports of their own."""
    announce = ["/ip6/2a00::1/udp/0", "/ip4/1.2.3.4/udp/0", "/ip4/1.2.3.4/udp/7"]
    wire = booted(announce=announce, listen=["/ip4/0.0.0.0/udp/0", "/ip6/::/udp/0"])
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([("0.0.0.0", 4711), ("::", 4712)], 0.0)
    assert texts(record_of(wire)) == [
        "/ip6/2a00::1/udp/4712",
        "/ip4/1.2.3.4/udp/4711",
        "/ip4/1.2.3.4/udp/7",
    ]


def test_seq_grows_over_restarts() -> None:
    """A changed record has a larger seq than any before, though the clock went back; an unchanged one keeps its seq."""
    wire = booted()
    state = saved(wire)
    again = booted(state, unix=UNIX - 5000)
    assert record_of(again).seq == UNIX
    assert not again.disk.saved  # type: ignore[attr-defined]
    moved = booted(state, unix=UNIX - 5000, announce=["/ip4/5.6.7.8/udp/9"])
    assert record_of(moved).seq == UNIX + 1
    third = booted(saved(moved), unix=UNIX + 9, announce=["/ip4/5.6.7.9/udp/9"])
    assert record_of(third).seq == UNIX + 9


def test_update_by_addresses_survives_a_restart() -> None:
    """Addresses set by the user stay until the configuration changes."""
    wire = booted()
    done = update(wire, addresses=["/ip4/9.9.9.9/udp/99"])
    record = decode_record(done.value)
    assert record.seq == UNIX + 1
    again = booted(saved(wire), unix=UNIX + 100)
    assert record_of(again) == record
    assert texts(record_of(booted(saved(wire), announce=["/ip4/1.1.1.1/udp/1"]))) == ["/ip4/1.1.1.1/udp/1"]


def test_update_by_record() -> None:
    """A given record of our key is taken as it is if its seq is new, and signed again with a new seq if not."""
    wire = booted()
    newer = sign_record(KEY, UNIX + 50, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert update(wire, newer.encoded).value == newer.encoded
    older = sign_record(KEY, 5, [parse_address("/ip4/9.9.9.8/udp/99")])
    again = decode_record(update(wire, older.encoded).value)
    assert (again.seq, again.addresses) == (UNIX + 51, older.addresses)


def test_given_record_with_the_seq_of_now() -> None:
    """Two different records never have the same seq: one that comes with the last one's is signed again."""
    wire = booted()
    same = sign_record(KEY, UNIX, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert decode_record(update(wire, same.encoded).value).seq == UNIX + 1


def test_both_records_draw_on_one_series_of_seqs() -> None:
    """A DHT record that is signed after a provider record has a larger seq, and so over a restart."""
    wire = booted()
    given = sign_record(KEY, UNIX + 70, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert update(wire, given.encoded, provider=True).value == given.encoded
    again = booted(saved(wire), announce=["/ip4/1.1.1.1/udp/1"])
    assert record_of(again).seq == UNIX + 71


def test_provider_record() -> None:
    """The provider record is kept and told beside the DHT record, and has a seq of the same series."""
    wire = booted()
    done = update(wire, addresses=["/ip4/9.9.9.9/tcp/99"], provider=True)
    assert decode_record(done.value).seq == UNIX + 1
    wire.handle(Hello(Actor.API), 0.0)
    assert said(wire)[-1].provider_record == done.value
    again = booted(saved(wire))
    again.handle(Hello(Actor.API), 0.0)
    assert said(again)[-1].provider_record == done.value


def test_bad_updates() -> None:
    """A record of another key, garbage, a bad address and an oversized record are refused with a clear code."""
    wire = booted()
    foreign = sign_record(PrivateKey.generate(seeded(9)), UNIX + 9, [])
    assert update(wire, foreign.encoded).code == "invalid_record"
    assert update(wire, b"garbage").code == "invalid_record"
    wire.handle(UpdateRecord(Actor.API, 7, 1.0, False, b"", [b"\xff\xff"]), 1.0)
    assert said(wire)[-1].code == "invalid_params"
    assert update(wire, addresses=["/ip4/9.9.9.9/udp/99"] * 50).code == "invalid_params"
    assert record_of(wire).seq == UNIX


def test_a_seq_that_nothing_can_exceed_is_refused() -> None:
    """After any record that was taken another one can be signed: the state on disk never leads to a dead end."""
    wire = booted()
    assert update(wire, sign_record(KEY, 2**64 - 1, []).encoded).code == "invalid_record"
    assert isinstance(update(wire, sign_record(KEY, 2**63 - 1, []).encoded), Done)
    done = update(wire, addresses=["/ip4/9.9.9.9/udp/99"])
    assert decode_record(done.value).seq == 2**63
    again = booted(saved(wire), announce=["/ip4/1.1.1.1/udp/1"])
    assert record_of(again).seq == 2**63 + 1


def test_vote_moves_the_record() -> None:
    """With `announce = auto` a voted address replaces that of its family; with fixed addresses nothing happens."""
    wire = booted()
    wire.handle(AddressVoted("7.7.7.7", 77), 5.0)
    record = record_of(wire)
    assert (record.seq, texts(record)) == (UNIX + 5, ["/ip4/7.7.7.7/udp/77"])
    wire.handle(AddressVoted("7.7.7.7", 77), 50.0)
    assert record_of(wire) == record
    assert record_of(booted(saved(wire), unix=UNIX + 9)) == record
    fixed = booted(announce=["/ip4/1.1.1.1/udp/1"])
    fixed.handle(AddressVoted("7.7.7.7", 77), 5.0)
    assert record_of(fixed).endpoint == ("1.1.1.1", 1)


def test_state_of_another_key_or_damaged_is_not_used() -> None:
    """After a change of key the old records are not told any more, but their seq is not used again."""
    other = sign_record(PrivateKey.generate(seeded(9)), UNIX + 50, [])
    configured = [parse_address(LISTEN)]
    replaced = LocalState(
        last_seq=UNIX + 50, record=other.encoded, provider_record=other.encoded, configured=configured
    )
    wire = booted(replaced)
    assert (record_of(wire).seq, texts(record_of(wire))) == (UNIX + 51, [LISTEN])
    assert saved(wire).provider_record == b""
    wire = booted(LocalState(last_seq=UNIX + 50, record=other.encoded, provider_record=b"rubbish"))
    assert record_of(wire).seq == UNIX + 51
    assert decode_state(encode_state(LocalState(last_seq=3))) == LocalState(last_seq=3)
    for data in (b"", b"\xc1", b"\x93\x01\x02", b"\x81\xa1x\x01"):
        with pytest.raises(DecodeError):
            decode_state(data)


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


def test_a_full_disk_refuses_the_users_record() -> None:
    """Nobody sees a record that is not saved: the asker is told why, and the record of before stays."""
    disk = Disk()
    wire = booted(disk=disk)
    before, disk.is_full = record_of(wire), True
    for provider in (False, True):
        failed = update(wire, addresses=["/ip4/9.9.9.9/udp/99"], provider=provider)
        assert (type(failed), failed.code) == (Failed, "storage_full")
    assert record_of(wire) == before
    disk.is_full = False
    assert decode_record(update(wire, addresses=["/ip4/9.9.9.9/udp/99"]).value).seq == UNIX + 1


def test_a_full_disk_keeps_a_vote_from_being_followed() -> None:
    """It is said in the log, and the same vote counts when there is room again."""
    disk = Disk()
    wire = booted(disk=disk, listen=["/ip4/0.0.0.0/udp/8090"])
    disk.is_full = True
    wire.handle(AddressVoted("9.9.9.9", 99), 1.0)
    assert texts(record_of(wire)) == []
    assert [event.event for event in wire.outbox.events] == ["storage_full"]
    disk.is_full = False
    wire.handle(AddressVoted("9.9.9.9", 99), 2.0)
    assert texts(record_of(wire)) == ["/ip4/9.9.9.9/udp/99"]


def test_a_full_disk_at_the_start() -> None:
    """The node runs with the saved record, and announces the configured addresses as soon as there is room."""
    disk = Disk()
    disk.is_full = True
    wire = booted(disk=disk)
    assert texts(record_of(wire)) == []
    wire.tick(wire.deadline())
    assert texts(record_of(wire)) == []
    disk.is_full = False
    wire.tick(wire.deadline())
    assert texts(record_of(wire)) == [LISTEN]
    assert (wire.deadline(), saved(wire).last_seq) == (None, UNIX + 20)


def test_what_is_set_after_a_full_disk_stays() -> None:
    """The configured addresses that could not be saved at the start do not come back over the user's."""
    disk = Disk()
    disk.is_full = True
    wire = booted(disk=disk)
    disk.is_full = False
    assert texts(decode_record(update(wire, addresses=["/ip4/9.9.9.9/udp/99"]).value)) == [
        "/ip4/9.9.9.9/udp/99"
    ]
    wire.tick(100.0)
    assert (texts(record_of(wire)), wire.deadline()) == (["/ip4/9.9.9.9/udp/99"], None)


def test_where_the_sockets_are_is_logged() -> None:
    """One line a socket, with the port that the system gave."""
    wire = booted()
    wire.socket_bound([("0.0.0.0", 4711), ("::", 4712)], 0.0)
    lines = [(line.level, line.event, line.fields) for line in wire.outbox.events]
    assert lines == [
        ("info", "listening", {"host": "0.0.0.0", "port": 4711}),
        ("info", "listening", {"host": "::", "port": 4712}),
    ]
