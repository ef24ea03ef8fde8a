"""The local records of a wire machine: what is announced, who may change it, and what of it is on disk."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.errors import DecodeError
from codexdht.identity import PrivateKey
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    Done,
    Failed,
    Hello,
    LocalRecords,
    Open,
    UpdateRecord,
)
from codexdht.records import SignedPeerRecord, address_text, decode_record, parse_address, sign_record
from codexdht.wire.local import LocalState, decode_state, encode_state

UNIX = 1_700_000_000
KEY = PrivateKey.generate(seeded(1))
LISTEN = "/ip4/127.0.0.1/udp/8090"


def texts(record: SignedPeerRecord) -> list[str]:
    return [address_text(address) for address in record.addresses]


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
    make_wire: Any, announce: Any, listen: str, bound: tuple[str, int], expected: list[str] | None
) -> None:
    """The record announces what the configuration says, with the bound port where it leaves the port open."""
    wire = make_wire(announce=announce, listen=[listen])
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([bound], 0.0)
    assert texts(wire.told_record()) == (announce if expected is None else expected)


def test_a_port_that_the_system_chooses(make_wire: Any) -> None:
    """Before it is known the record holds no address; when it is, everybody is told."""
    wire = make_wire(listen=["/ip4/127.0.0.1/udp/0"])
    assert texts(wire.told_record()) == []
    wire.socket_bound([("127.0.0.1", 4711)], 0.0)
    told = [m for _, messages in wire.outbox.take() for m in messages if isinstance(m, LocalRecords)]
    assert [texts(decode_record(m.record)) for m in told] == [["/ip4/127.0.0.1/udp/4711"]] * 3


def test_record_without_addresses_has_a_seq(make_wire: Any) -> None:
    """A node that does not know its address signs a record all the same, with the time as seq."""
    assert make_wire(listen=["/ip4/0.0.0.0/udp/8090"]).told_record().seq == UNIX


def test_each_announced_address_gets_the_port_of_its_family(make_wire: Any) -> None:
    """IPv4 and IPv6 sockets on any free port have ports of their own."""
    announce = ["/ip6/2a00::1/udp/0", "/ip4/1.2.3.4/udp/0", "/ip4/1.2.3.4/udp/7"]
    wire = make_wire(announce=announce, listen=["/ip4/0.0.0.0/udp/0", "/ip6/::/udp/0"])
    wire.handle(Open(Actor.API, 3, 1.0), 0.0)
    wire.socket_bound([("0.0.0.0", 4711), ("::", 4712)], 0.0)
    assert texts(wire.told_record()) == [
        "/ip6/2a00::1/udp/4712",
        "/ip4/1.2.3.4/udp/4711",
        "/ip4/1.2.3.4/udp/7",
    ]


def test_seq_grows_over_restarts(make_wire: Any) -> None:
    """A changed record has a larger seq than any before, though the clock went back; an unchanged one keeps its seq."""
    wire = make_wire()
    state = wire.saved()
    again = make_wire(state, unix=UNIX - 5000)
    assert again.told_record().seq == UNIX
    assert not again.disk.saved
    moved = make_wire(state, unix=UNIX - 5000, announce=["/ip4/5.6.7.8/udp/9"])
    assert moved.told_record().seq == UNIX + 1
    third = make_wire(moved.saved(), unix=UNIX + 9, announce=["/ip4/5.6.7.9/udp/9"])
    assert third.told_record().seq == UNIX + 9


def test_update_by_addresses_survives_a_restart(make_wire: Any) -> None:
    """Addresses set by the user stay until the configuration changes."""
    wire = make_wire()
    done = wire.update(addresses=["/ip4/9.9.9.9/udp/99"])
    record = decode_record(done.value)
    assert record.seq == UNIX + 1
    again = make_wire(wire.saved(), unix=UNIX + 100)
    assert again.told_record() == record
    assert texts(make_wire(wire.saved(), announce=["/ip4/1.1.1.1/udp/1"]).told_record()) == [
        "/ip4/1.1.1.1/udp/1"
    ]


def test_update_by_record(make_wire: Any) -> None:
    """A given record of our key is taken as it is if its seq is new, and signed again with a new seq if not."""
    wire = make_wire()
    newer = sign_record(KEY, UNIX + 50, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert wire.update(newer.encoded).value == newer.encoded
    older = sign_record(KEY, 5, [parse_address("/ip4/9.9.9.8/udp/99")])
    again = decode_record(wire.update(older.encoded).value)
    assert (again.seq, again.addresses) == (UNIX + 51, older.addresses)


def test_given_record_with_the_seq_of_now(make_wire: Any) -> None:
    """Two different records never have the same seq: one that comes with the last one's is signed again."""
    wire = make_wire()
    same = sign_record(KEY, UNIX, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert decode_record(wire.update(same.encoded).value).seq == UNIX + 1


def test_both_records_draw_on_one_series_of_seqs(make_wire: Any) -> None:
    """A DHT record that is signed after a provider record has a larger seq, and so over a restart."""
    wire = make_wire()
    given = sign_record(KEY, UNIX + 70, [parse_address("/ip4/9.9.9.9/udp/99")])
    assert wire.update(given.encoded, provider=True).value == given.encoded
    again = make_wire(wire.saved(), announce=["/ip4/1.1.1.1/udp/1"])
    assert again.told_record().seq == UNIX + 71


def test_provider_record(make_wire: Any) -> None:
    """The provider record is kept and told beside the DHT record, and has a seq of the same series."""
    wire = make_wire()
    done = wire.update(addresses=["/ip4/9.9.9.9/tcp/99"], provider=True)
    assert decode_record(done.value).seq == UNIX + 1
    wire.handle(Hello(Actor.API), 0.0)
    assert wire.said()[-1].provider_record == done.value
    again = make_wire(wire.saved())
    again.handle(Hello(Actor.API), 0.0)
    assert again.said()[-1].provider_record == done.value


def test_bad_updates(make_wire: Any) -> None:
    """A record of another key, garbage, a bad address and an oversized record are refused with a clear code."""
    wire = make_wire()
    foreign = sign_record(PrivateKey.generate(seeded(9)), UNIX + 9, [])
    assert wire.update(foreign.encoded).code == "invalid_record"
    assert wire.update(b"garbage").code == "invalid_record"
    wire.handle(UpdateRecord(Actor.API, 7, 1.0, False, b"", [b"\xff\xff"]), 1.0)
    assert wire.said()[-1].code == "invalid_params"
    assert wire.update(addresses=["/ip4/9.9.9.9/udp/99"] * 50).code == "invalid_params"
    assert wire.told_record().seq == UNIX


def test_a_seq_that_nothing_can_exceed_is_refused(make_wire: Any) -> None:
    """After any record that was taken another one can be signed: the state on disk never leads to a dead end."""
    wire = make_wire()
    assert wire.update(sign_record(KEY, 2**64 - 1, []).encoded).code == "invalid_record"
    assert isinstance(wire.update(sign_record(KEY, 2**63 - 1, []).encoded), Done)
    done = wire.update(addresses=["/ip4/9.9.9.9/udp/99"])
    assert decode_record(done.value).seq == 2**63
    again = make_wire(wire.saved(), announce=["/ip4/1.1.1.1/udp/1"])
    assert again.told_record().seq == 2**63 + 1


def test_vote_moves_the_record(make_wire: Any) -> None:
    """With `announce = auto` a voted address replaces that of its family; with fixed addresses nothing happens."""
    wire = make_wire()
    wire.handle(AddressVoted("7.7.7.7", 77), 5.0)
    record = wire.told_record()
    assert (record.seq, texts(record)) == (UNIX + 5, ["/ip4/7.7.7.7/udp/77"])
    wire.handle(AddressVoted("7.7.7.7", 77), 50.0)
    assert wire.told_record() == record
    assert make_wire(wire.saved(), unix=UNIX + 9).told_record() == record
    fixed = make_wire(announce=["/ip4/1.1.1.1/udp/1"])
    fixed.handle(AddressVoted("7.7.7.7", 77), 5.0)
    assert fixed.told_record().endpoint == ("1.1.1.1", 1)


def test_state_of_another_key_or_damaged_is_not_used(make_wire: Any) -> None:
    """After a change of key the old records are not told any more, but their seq is not used again."""
    other = sign_record(PrivateKey.generate(seeded(9)), UNIX + 50, [])
    configured = [parse_address(LISTEN)]
    replaced = LocalState(
        last_seq=UNIX + 50, record=other.encoded, provider_record=other.encoded, configured=configured
    )
    wire = make_wire(replaced)
    assert (wire.told_record().seq, texts(wire.told_record())) == (UNIX + 51, [LISTEN])
    assert wire.saved().provider_record == b""
    wire = make_wire(LocalState(last_seq=UNIX + 50, record=other.encoded, provider_record=b"rubbish"))
    assert wire.told_record().seq == UNIX + 51
    assert decode_state(encode_state(LocalState(last_seq=3))) == LocalState(last_seq=3)
    for data in (b"", b"\xc1", b"\x93\x01\x02", b"\x81\xa1x\x01"):
        with pytest.raises(DecodeError):
            decode_state(data)


def test_a_full_disk_refuses_the_users_record(make_wire: Any) -> None:
    """Nobody sees a record that is not saved: the asker is told why, and the record of before stays."""
    wire = make_wire()
    before, wire.disk.is_full = wire.told_record(), True
    for provider in (False, True):
        failed = wire.update(addresses=["/ip4/9.9.9.9/udp/99"], provider=provider)
        assert (type(failed), failed.code) == (Failed, "storage_full")
    assert wire.told_record() == before
    wire.disk.is_full = False
    assert decode_record(wire.update(addresses=["/ip4/9.9.9.9/udp/99"]).value).seq == UNIX + 1


def test_a_full_disk_keeps_a_vote_from_being_followed(make_wire: Any) -> None:
    """It is said in the log, and the same vote counts when there is room again."""
    wire = make_wire(listen=["/ip4/0.0.0.0/udp/8090"])
    wire.disk.is_full = True
    wire.handle(AddressVoted("9.9.9.9", 99), 1.0)
    assert texts(wire.told_record()) == []
    assert [event.event for event in wire.outbox.events] == ["storage_full"]
    wire.disk.is_full = False
    wire.handle(AddressVoted("9.9.9.9", 99), 2.0)
    assert texts(wire.told_record()) == ["/ip4/9.9.9.9/udp/99"]


def test_a_full_disk_at_the_start(make_wire: Any) -> None:
    """The node runs with the saved record, and announces the configured addresses as soon as there is room."""
    wire = make_wire(is_full=True)
    assert texts(wire.told_record()) == []
    wire.tick(wire.deadline())
    assert texts(wire.told_record()) == []
    wire.disk.is_full = False
    wire.tick(wire.deadline())
    assert texts(wire.told_record()) == [LISTEN]
    assert (wire.deadline(), wire.saved().last_seq) == (None, UNIX + 20)


def test_a_full_disk_at_the_start_with_another_key(make_wire: Any) -> None:
    """Also where the configuration says what it has said before, a record of this key is signed when there is room."""
    other = sign_record(PrivateKey.generate(seeded(9)), UNIX + 50, [])
    replaced = LocalState(last_seq=UNIX + 50, record=other.encoded, configured=[parse_address(LISTEN)])
    wire = make_wire(replaced, is_full=True)
    wire.disk.is_full = False
    wire.tick(wire.deadline())
    assert (texts(wire.told_record()), wire.saved().last_seq) == ([LISTEN], UNIX + 51)


def test_a_vote_after_a_full_disk_stays(make_wire: Any) -> None:
    """The configured addresses that could not be saved at the start do not come back over the voted one."""
    wire = make_wire(is_full=True, listen=["/ip4/0.0.0.0/udp/8090"])
    wire.disk.is_full = False
    wire.handle(AddressVoted("9.9.9.9", 99), 1.0)
    wire.tick(100.0)
    assert (texts(wire.told_record()), wire.deadline()) == (["/ip4/9.9.9.9/udp/99"], None)


def test_what_is_set_after_a_full_disk_stays(make_wire: Any) -> None:
    """The configured addresses that could not be saved at the start do not come back over the user's."""
    wire = make_wire(is_full=True)
    wire.disk.is_full = False
    assert texts(decode_record(wire.update(addresses=["/ip4/9.9.9.9/udp/99"]).value)) == [
        "/ip4/9.9.9.9/udp/99"
    ]
    wire.tick(100.0)
    assert (texts(wire.told_record()), wire.deadline()) == (["/ip4/9.9.9.9/udp/99"], None)
