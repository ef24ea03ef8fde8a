"""Who gets a session with a wire machine, how long the keys before it hold, and what is remembered of its peer."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.entropy import seeded
from codexdht.identity import PrivateKey
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind, decode_pong, encode_outer, encode_ping
from codexdht.messages.internal import (
    Actor,
    Call,
    CallAnswer,
    CallFailed,
    PeerSeen,
    UpdateRecord,
)
from codexdht.records import multiaddress_of_endpoint, parse_address, sign_record
from codexdht.wire.crypto import StandardCrypto
from codexdht.wire.identities import Identities
from codexdht.wire.packet import encode_header, encode_packet, encode_whoareyou_auth
from codexdht.wire.plain import PlainAead, PlainMask
from codexdht.wire.sessions import Sessions

Net = Any
CRYPTO = StandardCrypto()
PING = encode_outer(Kind.PING, b"1", encode_ping(1), False)


def impostor(net: Net, victim: Any) -> Any:
    """Return a node that says it has the victim's id; key and record are its own."""
    node = net.node(9)
    node.machine._transmitter.node_id = victim.node_id
    node.machine._mask = CRYPTO.mask(victim.node_id)
    return node


def session_of(node: Any, peer: Any) -> Any:
    return node.machine._sessions.get((peer.node_id, peer.address))


def send(node: Any, session: Any, plaintext: bytes = PING) -> None:
    node.machine._transmitter.seal(session, plaintext)


def test_nobody_takes_the_id_of_another(net: Net) -> None:
    """A handshake whose record is valid, but of another id than the packet's, opens no session under either."""
    victim, b = net.node(1), net.node(2)
    net.call(impostor(net, victim), b)
    net.run()
    assert b.counters["handshake_with_foreign_record"] == 1
    assert len(b.machine._sessions) == 0
    assert b.take(PeerSeen) == []


def test_handshake_of_an_unknown_node_without_a_record(net: Net) -> None:
    """Without a record, now or before, there is no key to check the handshake with: it is refused."""
    a, b = net.node(1), net.node(2)
    a.machine._initiator.record = sign_record(a.key, 0, [])
    net.call(a, b)
    net.run()
    assert b.counters["handshake_of_unknown_key"] == 1
    assert len(b.machine._sessions) == 0


def test_peer_with_a_key_off_the_curve(net: Net) -> None:
    """A request to a public key that is none fails once, when the peer answers, and is forgotten."""
    a, b = net.node(1), net.node(2)
    bad_key = b"\x02" + b"\xff" * 32
    a.machine.handle(Call(7, 1.0, b.node_id, bad_key, *b.address, Kind.PING, encode_ping(1)), net.now)
    net.wait(3.0)
    assert [(m.call, m.reason) for m in a.take(CallFailed)] == [(7, "unreachable")]
    assert len(a.machine._caller.calls) == 0


def test_another_challenge_for_a_request_that_has_answered_one(net: Net) -> None:
    """One request makes one handshake: a second, different WHOAREYOU about it is counted, and answered by nothing."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    net.step()
    a.machine.datagrams.clear()
    [nonce] = a.machine._caller.calls._by_nonce
    header = encode_header(1, nonce, encode_whoareyou_auth(b"other".ljust(16), 0))
    packet = encode_packet(CRYPTO.mask(a.node_id), b"i" * 16, header, b"")
    a.machine.receive_datagram(packet, b.address, net.now)
    assert a.machine.datagrams == []
    assert a.counters["whoareyou_repeated"] == 1


def test_large_request_under_a_session_that_the_peer_has_lost(net: Net) -> None:
    """Also in the middle of a conversation a request too large for the handshake follows it by itself."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    a.take(object)
    b.machine._sessions.drop((a.node_id, a.address))
    body = b"\x0a\x04echo\x12\xcc\x08" + b"x" * 1100
    number = net.call(a, b, Kind.TALK_REQ, body)
    a.machine._initiator.record = sign_record(a.key, 2**33, list(a.machine._local.record.addresses))
    net.run()
    assert [m.call for m in a.take(CallAnswer)] == [number]


def renewed(net: Net) -> tuple[Any, Any, Any, Any]:
    """Return two nodes after a second handshake, and a's sessions: the old one and the new one."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    old = session_of(a, b)
    a.machine._sessions.drop((b.node_id, b.address))
    net.call(a, b)
    net.run()
    assert session_of(a, b) is not old
    b.counters.clear()
    return a, b, old, session_of(a, b)


def test_keys_before_a_handshake_hold_for_a_second(net: Net) -> None:
    """Packets that were under way when the keys changed are read; a second later the old keys are forgotten."""
    a, b, old, new = renewed(net)
    net.now += 0.9
    send(a, old)
    send(a, new)
    net.run()
    assert b.counters["served_ping"] == 2
    net.now += 1.0
    send(a, new)
    send(a, old)
    net.run()
    assert b.counters["served_ping"] == 3
    assert b.counters["undecryptable"] == 1


def test_the_second_begins_when_a_key_comes_into_use(net: Net) -> None:
    """Where two handshakes cross, the peer may go on with the older keys: the newer ones are kept a second more."""
    a, b, old, new = renewed(net)
    net.now += 1.5
    send(a, old)
    net.run()
    net.now += 0.5
    send(a, old)
    send(a, new)
    net.run()
    assert b.counters["undecryptable"] == 0


def test_pongs_tell_the_record_of_now(net: Net) -> None:
    """The body of a PONG is kept, but not beyond a change of the record whose seq it tells."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    before = decode_pong(a.take(CallAnswer)[0].body).seq
    addresses = [parse_address("/ip4/9.9.9.9/udp/9")]
    b.machine.handle(UpdateRecord(Actor.API, 1, net.now + 1, False, b"", addresses), net.now)
    net.call(a, b)
    net.run()
    assert decode_pong(a.take(CallAnswer)[0].body).seq == before + 1


def test_ping_that_does_not_decode(net: Net) -> None:
    """A bad PING is counted, not answered, whether a good one came before or not."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    send(a, session_of(a, b), encode_outer(Kind.PING, b"1", b"\xff\xff", False))
    net.log.clear()
    net.run()
    assert len(net.log) == 1
    assert b.counters["bad_body"] == 1


def test_an_empty_ping_is_never_one_that_was_read_before(net: Net) -> None:
    """It does not decode, even as the first PING of a session, or behind one that is too long to be kept."""
    a, b = net.node(1), net.node(2)
    net.call(a, b, Kind.FIND_NODE, discv5.encode_find_node([0]))
    net.run()
    for body in (b"", encode_ping(1) + b"\x7a\x10" + bytes(16), b""):
        send(a, session_of(a, b), encode_outer(Kind.PING, b"1", body, False))
        net.run()
    assert (b.counters["served_ping"], b.counters["bad_body"]) == (1, 2)


def test_a_new_handshake_is_no_change_of_client_mode(net: Net) -> None:
    """What a peer's mode is stays known over a handshake that we begin, so routing is not told of it again."""
    a, b = net.node(1), net.node(2, client_mode=True)
    net.call(a, b)
    net.run()
    assert [m.client_mode for m in a.take(PeerSeen)] == [True]
    b.machine._sessions.drop((a.node_id, a.address))
    net.call(a, b)
    net.run()
    assert a.take(PeerSeen) == []


@pytest.mark.parametrize(
    ("flag", "authdata", "message", "reason"),
    [
        (0, b"s" * 33, 40, "bad_authdata_size"),
        (0, b"s" * 31, 40, "bad_authdata_size"),
        (1, b"s" * 24, 1, "bad_authdata_size"),
        (1, b"s" * 25, 0, "bad_authdata_size"),
        (2, b"s" * 33, 20, "bad_authdata_size"),
        (2, b"s" * 32 + b"\x02\x03" + b"x" * 4, 20, "bad_handshake_sizes"),
        (3, b"s" * 32, 20, "bad_flag"),
    ],
)
def test_packets_whose_parts_do_not_fit(
    net: Net, flag: int, authdata: bytes, message: int, reason: str
) -> None:
    """Each kind of packet has the size of authdata that wire.md says; any other is counted and not answered."""
    node = net.node(1)
    header = encode_header(flag, b"n" * 12, authdata)
    data = encode_packet(CRYPTO.mask(node.node_id), b"i" * 16, header, b"m" * message)
    node.machine.receive_datagram(data, ("127.0.0.1", 5), 0.0)
    assert dict(node.counters) == {reason: 1}
    assert node.machine.datagrams == []


def test_packet_that_ends_within_its_authdata(net: Net) -> None:
    """A packet that announces more authdata than there is is refused by its size."""
    node = net.node(1)
    header = encode_header(2, b"n" * 12, b"s" * 32 + b"\0\0" + b"x" * 60)
    data = encode_packet(CRYPTO.mask(node.node_id), b"i" * 16, header, b"")[:-50]
    node.machine.receive_datagram(data, ("127.0.0.1", 5), 0.0)
    assert dict(node.counters) == {"bad_authdata_size": 1}


def test_endpoints_of_sessions_are_forgotten_with_them() -> None:
    """Only endpoints that have a session are let past the limits of strangers; two may share one."""
    table = Sessions(8)
    here, there = ("9.9.9.9", 1), ("9.9.9.9", 2)
    for peer in ((b"a" * 32, here), (b"b" * 32, here), (b"c" * 32, there)):
        for _ in range(2):
            table.add(peer, PlainMask(), PlainAead(b""), PlainAead(b""), 0.0, asked=0.0)
    assert table.addresses == {here: 2, there: 1}
    table.drop((b"a" * 32, here))
    table.drop((b"a" * 32, here))
    table.drop((b"c" * 32, there))
    assert table.addresses == {here: 1}


def test_identities_are_bounded() -> None:
    """The node that was not heard of for longest is forgotten first."""
    first, second, third = (sign_record(PrivateKey.generate(seeded(number)), 1, []) for number in range(3))
    known = Identities(2)
    for record in (first, second, first, third):
        known.learn(record)
    assert len(known) == 2
    assert known.public_key(second.node_id) is None
    assert known.public_key(third.node_id) == third.public_key


def test_a_node_that_came_back_elsewhere_is_asked_for_its_record() -> None:
    """Deployed peers begin their seq anew when they are restarted: the record of the last handshake holds."""
    key = PrivateKey.generate(seeded(1))
    before, after = (
        sign_record(key, seq, [multiaddress_of_endpoint(("8.8.8.8", port))])
        for seq, port in ((1000, 9100), (1, 9555))
    )
    known = Identities(2)
    known.learn(before)
    assert known.seq(before.node_id, ("8.8.8.8", 9100)) == 1000
    assert known.seq(before.node_id, ("8.8.8.8", 9555)) == 0
    known.learn(after)
    assert known.seq(before.node_id, ("8.8.8.8", 9555)) == 1
    assert known.record(before.node_id) == after.encoded


def test_a_peer_that_shakes_hands_is_not_forgotten_before_others() -> None:
    """Its key is looked up then: it counts as used, though it sends no record."""
    first, second, third = (sign_record(PrivateKey.generate(seeded(number)), 1, []) for number in range(3))
    known = Identities(2)
    known.learn(first)
    known.learn(second)
    assert known.public_key(first.node_id) is not None
    known.learn(third)
    assert known.public_key(first.node_id) == first.public_key
    assert known.public_key(second.node_id) is None


@pytest.mark.parametrize(("addresses", "kept"), [(1, True), (70, True), (90, False)])
def test_records_that_fit_no_packet_are_not_kept(addresses: int, kept: bool) -> None:
    """A peer whose record is larger than what a handshake of 1280 bytes carries is known by its key alone."""
    known = Identities(2)
    address = parse_address("/ip4/8.8.8.8/udp/1")
    record = sign_record(PrivateKey.generate(seeded(1)), 7, [address] * addresses)
    known.learn(record)
    assert (len(record.encoded) <= 1082) is kept
    assert known.record(record.node_id) == (record.encoded if kept else b"")
    assert (known.public_key(record.node_id), known.seq(record.node_id, ("8.8.8.8", 1))) == (
        record.public_key,
        7,
    )
