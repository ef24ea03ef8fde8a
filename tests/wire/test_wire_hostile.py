"""What hostile or broken peers may and may not do to a wire machine (behaviour.md)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages.discv5 import Kind, encode_outer, encode_ping
from codexdht.messages.internal import CallAnswer, CallFailed, PeerSeen
from codexdht.wire.crypto import StandardCrypto
from codexdht.wire.packet import encode_header, encode_packet

Net = Any
PUBLIC = "8.8.8.8"
CRYPTO = StandardCrypto()


def stranger(node: Any, source: bytes, size: int = 20) -> bytes:
    """Return an ordinary packet from an id that has no session."""
    header = encode_header(0, b"n" * 12, source)
    return encode_packet(CRYPTO.mask(node.node_id), b"i" * 16, header, b"r" * size)


def feed(node: Any, data: bytes, address: tuple[str, int], now: float) -> list[int]:
    """Give a node a datagram; return the sizes of what it answers."""
    node.machine.receive_datagram(data, address, now)
    sizes = [len(data) for data, _ in node.machine.datagrams]
    node.machine.datagrams.clear()
    return sizes


@given(st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 3), st.floats(0, 5)), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_datagrams(net: Net, datagrams: list[tuple[bytes, int, float]]) -> None:
    """No bytes make the machine raise, whether masked for it or not, and every answer is smaller than its cause."""
    node = net.node(1)
    for content, form, now in datagrams:
        data = content
        if form < 3:
            header = encode_header(form, b"n" * 12, content[:40])
            data = encode_packet(CRYPTO.mask(node.node_id), b"i" * 16, header, content[40:])
        answers = feed(node, data, ("127.0.0.1", 1), now)
        assert len(answers) <= 1
        assert all(size <= len(data) for size in answers)


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_messages_within_a_session(net: Net, plaintext: bytes) -> None:
    """No message of a peer with a session makes the machine raise."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    session = a.machine._sessions.get((b.node_id, b.address))
    a.machine._transmitter.seal(session, plaintext)
    for kind in Kind:
        a.machine._transmitter.seal(session, encode_outer(kind, b"", plaintext, False))
    net.run()


@given(st.integers(0, 3), st.integers(0, 600), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_anywhere(net: Net, packet: int, at: int, flip: int) -> None:
    """A changed byte in any packet of a handshake but the random one fails the call; later calls succeed again."""
    net = type(net)()
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    for _ in range(packet):
        net.step()
    for node in (a, b):
        damaged = [(damage(data, at, flip), to) for data, to in node.machine.datagrams]
        node.machine.datagrams[:] = damaged
    net.wait(1.0)
    assert packet == 0 or a.take(CallAnswer) == []
    net.call(a, b)
    net.wait(1.0)
    net.call(a, b)
    net.wait(1.0)
    assert len(a.take(CallAnswer)) >= 1


def damage(data: bytes, at: int, flip: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]


def test_replayed_handshake(net: Net) -> None:
    """A challenge is used once: the same handshake a second time does nothing."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    handshake = net.log[2][2]
    b.take(PeerSeen)
    assert feed(b, handshake, a.address, net.now) == []
    assert b.counters["handshake_without_challenge"] == 1
    assert b.take(PeerSeen) == []


def test_late_handshake(net: Net) -> None:
    """A handshake that comes after the challenge's 1 s is refused."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    net.step()
    net.now += 1.0
    net.run()
    assert b.counters["handshake_without_challenge"] == 1
    assert len(b.machine._sessions) == 0


def test_whoareyou_from_elsewhere(net: Net) -> None:
    """A WHOAREYOU is answered only if it comes from the address asked, about a request that is pending."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    [(challenge, _)] = b.machine.datagrams
    assert feed(a, challenge, ("127.0.0.1", 5), net.now) == []
    assert a.counters["whoareyou_unexpected"] == 1
    net.wait(1.0)
    assert feed(a, challenge, b.address, net.now) == []


def test_repeated_whoareyou(net: Net) -> None:
    """The same WHOAREYOU again gets the same handshake again, three times at most."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    [(challenge, _)] = b.machine.datagrams
    sizes = [feed(a, challenge, b.address, net.now) for _ in range(6)]
    assert [len(s) for s in sizes] == [1, 1, 1, 1, 0, 0]
    assert a.counters["whoareyou_repeated"] == 2


def test_challenge_is_sent_again_not_made_anew(net: Net) -> None:
    """More unreadable packets of one peer get the same challenge, three more times at most, for 1 s."""
    node, sent = net.node(1), []
    for number in range(6):
        node.machine.receive_datagram(stranger(node, b"s" * 32), ("127.0.0.1", 7), 0.1 * number)
    sent = [data for data, _ in node.machine.datagrams]
    assert len(sent) == 4
    assert len(set(sent)) == 1
    node.machine.datagrams.clear()
    node.machine.receive_datagram(stranger(node, b"s" * 32), ("127.0.0.1", 7), 1.1)
    assert node.machine.datagrams[0][0] != sent[0]


def test_whoareyou_limit(net: Net) -> None:
    """One public address gets 5 WHOAREYOU a second, whatever ids and ports it shows; loopback is exempt."""
    node = net.node(1)
    packets = [stranger(node, bytes([n]) * 32) for n in range(20)]
    for host, expected in ((PUBLIC, 5), ("127.0.0.1", 20), ("192.168.1.1", 20)):
        answers = [feed(node, data, (host, 1000 + n), 0.0) for n, data in enumerate(packets)]
        assert len([a for a in answers if a]) == expected
    assert node.counters["refused_whoareyou_rate"] == 15
    answers = [feed(node, data, (PUBLIC, 3000 + n), 1.0) for n, data in enumerate(packets)]
    assert len([a for a in answers if a]) == 5


def test_whoareyou_limit_holds_in_any_second(net: Net) -> None:
    """Not only at once: packets spread over three seconds get 15, never more than 5 within one second."""
    node, sent = net.node(1), []
    for number in range(120):
        now = number * 0.025
        if feed(node, stranger(node, bytes([number]) * 32), (PUBLIC, 1000 + number), now):
            sent.append(now)
    assert len(sent) == 15
    assert all(later - earlier >= 1.0 for earlier, later in zip(sent, sent[5:], strict=False))


@pytest.mark.parametrize(
    ("mode", "host", "limited"),
    [
        ("public", "127.0.0.1", False),
        ("public", PUBLIC, True),
        ("all", "127.0.0.1", True),
        ("off", PUBLIC, False),
        ("public", "fe80::1", False),
        ("all", "fe80::1%eth0", True),
        ("public", "2a00:1450::1", True),
    ],
)
def test_packets_of_one_address(net: Net, mode: str, host: str, limited: bool) -> None:
    """100 packets at once are looked at from one address without a session; `ip_limits` says of whom."""
    node = net.node(1, ip_limits=mode)
    for number in range(150):
        feed(node, stranger(node, b"s" * 32), (host, 1000 + number), 0.0)
    assert node.counters["dropped_source_rate"] == (50 if limited else 0)


def test_ipv6_is_counted_by_network(net: Net) -> None:
    """Addresses of one /64 share their limits."""
    node = net.node(1)
    for number in range(150):
        feed(node, stranger(node, b"s" * 32), (f"2a00:1450::{number:x}", 1000), 0.0)
    assert node.counters["dropped_source_rate"] == 50


def test_all_strangers_together(net: Net) -> None:
    """All addresses without a session share one limit, so that many sources are no way around it."""
    node = net.node(1, strangers_burst=300.0, strangers_rate=10.0)
    for number in range(400):
        feed(node, stranger(node, b"s" * 32), (f"9.9.{number // 250}.{number % 250}", 1), 0.0)
    assert node.counters["dropped_strangers_rate"] == 100


def test_sessions_have_a_larger_share(net: Net) -> None:
    """An endpoint with a session may send 1000 packets at once, also while strangers use up their share."""
    a, b = net.node(1, PUBLIC), net.node(2, "8.8.4.4")
    net.call(a, b)
    net.run()
    session = a.machine._sessions.get((b.node_id, b.address))
    for _ in range(1100):
        a.machine._transmitter.seal(session, encode_outer(Kind.PING, b"1", b"\x08\x01", False))
    for number in range(300):
        feed(b, stranger(b, b"s" * 32), (f"9.9.9.{number % 250}", number), net.now)
    net.run()
    assert 999 <= b.counters["served_ping"] <= 1001
    assert b.counters["dropped_session_rate"] >= 99


def test_address_is_ignored(net: Net) -> None:
    """100 malformed packets within 10 s from one address: it is ignored for 60 s, then heard again."""
    node = net.node(1, source_burst=1000.0)
    for number in range(100):
        feed(node, b"x" * 80, (PUBLIC, number), number * 0.05)
    assert node.counters["addresses_ignored"] == 1
    assert feed(node, stranger(node, b"s" * 32), (PUBLIC, 7), 10.0) == []
    assert node.counters["dropped_ignored"] == 1
    assert feed(node, stranger(node, b"s" * 32), (PUBLIC, 7), 65.0) == [63]


def test_the_ten_seconds_begin_with_the_first_bad_packet(net: Net) -> None:
    """Not when the address was heard of: 100 bad packets within 7 s are too many whenever they come."""
    node = net.node(1)
    feed(node, stranger(node, b"s" * 32), (PUBLIC, 1), 0.0)
    for number in range(100):
        feed(node, b"x" * 80, (PUBLIC, 1), 5.0 + number * 0.07)
    assert node.counters["addresses_ignored"] == 1


def test_slow_rubbish_is_not_ignored(net: Net) -> None:
    """The same number of bad packets over a longer time does not count."""
    node = net.node(1)
    for number in range(300):
        feed(node, b"x" * 80, (PUBLIC, 1), number * 0.2)
    assert node.counters["addresses_ignored"] == 0


def test_tables_are_bounded(net: Net) -> None:
    """Challenges, sources and sessions stay within their settings under any number of strangers."""
    node = net.node(1, challenges=10, sources=20, sessions=3)
    for number in range(200):
        source = number.to_bytes(32, "big")
        feed(node, stranger(node, source), (f"10.0.{number // 250}.{number % 250}", 1), 0.0)
    assert len(node.machine._challenges) == 10
    assert node.counters["refused_challenges_full"] == 190
    assert len(node.machine._limits) == 20
    others = [net.node(seed) for seed in range(2, 8)]
    net.now = 5.0
    for other in others:
        net.call(other, node)
        net.run()
    assert len(node.machine._sessions) == 3
    assert len(node.machine._sessions.addresses) == 3
    assert node.machine._sessions.evicted == 3


def test_least_recently_used_session_leaves(net: Net) -> None:
    """The session that was used longest ago makes room."""
    node = net.node(1, sessions=2)
    a, b, c = (net.node(seed) for seed in (2, 3, 4))
    for other in (a, b, a, c):
        net.call(other, node)
        net.run()
    kept = [peer[0] for peer in node.machine._sessions._sessions]
    assert kept == [a.node_id, c.node_id]


def test_calls_are_bounded(net: Net) -> None:
    """Beyond the limit of calls in flight, and of calls behind one handshake, a call is refused as busy."""
    a, b = net.node(1, calls=10, calls_waiting=4), net.node(2)
    net.lose = lambda *_: True
    for _ in range(8):
        net.call(a, b)
    assert [m.reason for m in a.take(CallFailed)] == ["busy"] * 4
    for seed in range(3, 12):
        net.call(a, net.node(seed))
    assert [m.reason for m in a.take(CallFailed)] == ["busy"] * 3


def test_handshake_attempts_are_bounded(net: Net) -> None:
    """Three wrong handshakes use a challenge up, as each costs a signature check; one does not."""
    a, b = net.node(1), net.node(2)
    for wrong, accepted in ((1, 1), (3, 0)):
        b.machine._sessions.drop((a.node_id, a.address))
        a.machine._sessions.drop((b.node_id, b.address))
        before = b.counters["handshakes_accepted"]
        net.call(a, b)
        net.step()
        net.step()
        [(good, _)] = a.machine.datagrams
        for _ in range(wrong):
            feed(b, damage(good, len(good) - 1, 1), a.address, net.now)
        net.run()
        assert b.counters["handshakes_accepted"] - before == accepted
        net.wait(2.0)


def test_traffic_of_one_seed_is_reproducible(net: Net) -> None:
    """Fuzzed traffic leaves the same counters twice."""
    counters = []
    for run in (net, type(net)()):
        node, chance = run.node(1), seeded(5)
        for _ in range(200):
            feed(node, chance.randbytes(chance.randrange(150)), ("9.9.9.9", 1), 0.0)
        counters.append(dict(node.counters))
    assert counters[0] == counters[1]


def test_unreadable_packets_behind_a_challenge_count(net: Net) -> None:
    """The first unreadable packet of a peer begins a handshake; 100 more that it sends meanwhile are too many."""
    node = net.node(1, source_burst=1000.0, challenge_seconds=60.0)
    for number in range(100):
        feed(node, stranger(node, b"s" * 32), (PUBLIC, 7), number * 0.05)
    assert node.counters["addresses_ignored"] == 0
    feed(node, stranger(node, b"s" * 32), (PUBLIC, 7), 5.0)
    assert node.counters["addresses_ignored"] == 1


def test_a_handshake_makes_up_for_what_was_bad(net: Net) -> None:
    """Bad packets before a successful handshake do not count with those after it."""
    a, b = net.node(1, PUBLIC), net.node(2, "8.8.4.4", source_burst=1000.0)
    for _ in range(2):
        for _ in range(70):
            feed(b, b"x" * 80, a.address, net.now)
        net.call(a, b)
        net.run()
    assert b.counters["addresses_ignored"] == 0
    assert len(a.take(CallAnswer)) == 2


def test_exempt_addresses_are_never_ignored(net: Net) -> None:
    """Nor counted among those that are."""
    node = net.node(1)
    for _ in range(300):
        feed(node, b"x" * 80, ("127.0.0.1", 7), 0.0)
    assert node.counters["addresses_ignored"] == 0
    assert feed(node, stranger(node, b"s" * 32), ("127.0.0.1", 7), 0.0) == [63]


def test_silence_saves_nothing_up(net: Net) -> None:
    """However long an address was silent, 100 packets at once are looked at."""
    node = net.node(1)
    for now in (0.0, 1000.0):
        for number in range(150):
            feed(node, stranger(node, b"s" * 32), (PUBLIC, 1000 + number), now)
    assert node.counters["dropped_source_rate"] == 100


def test_several_processes_share_the_limit_on_strangers(net: Net) -> None:
    """Each of two processes takes half of the burst, and half of the rate after that."""
    node = net.node(1, strangers_burst=300.0, strangers_rate=20.0, processes=2)
    for now in (0.0, 1.0):
        for number in range(200):
            feed(node, stranger(node, b"s" * 32), (f"9.9.9.{number}", 1), now)
    assert node.counters["dropped_strangers_rate"] == 50 + 190


def test_what_a_session_keeps_is_small(net: Net) -> None:
    """A PING may carry 60 kB of unknown fields: it is answered, but not kept, as each of thousands of sessions may get
    one."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    body = encode_ping(1) + b"\x7a\xe0\xd4\x03" + bytes(60_000)
    a.machine._transmitter.seal(
        a.machine._sessions.get((b.node_id, b.address)), encode_outer(Kind.PING, b"1", body, False)
    )
    [(packet, _)] = a.machine.datagrams
    assert feed(b, packet, a.address, net.now) != []
    assert len(b.machine._sessions.get((a.node_id, a.address)).ping) <= 11


def test_own_handshakes_get_through_a_flood(net: Net) -> None:
    """While strangers use up all of their share, a peer that this node asks for a session may still answer; when the
    request has ended it is a stranger again."""
    a, b = net.node(1, PUBLIC, strangers_burst=10.0, strangers_rate=1.0), net.node(2, "8.8.4.4")
    for number in range(20):
        feed(a, stranger(a, b"s" * 32), (f"9.9.9.{number}", 1), net.now)
    net.call(a, b)
    net.run()
    assert len(a.take(CallAnswer)) == 1
    net.lose = lambda *_: True
    net.call(a, net.node(3, "8.8.4.5"))
    net.call(a, net.node(4, "8.8.4.5"))
    assert a.machine._caller.awaited == {("8.8.4.5", 9003): 1, ("8.8.4.5", 9004): 1}
    net.wait(1.0)
    assert a.machine._caller.awaited == {}


def test_a_network_is_not_forgotten_while_new_hosts_of_it_come(net: Net) -> None:
    """An IPv6 network has more addresses than the table of sources has rows: they share one limit all the same."""
    node = net.node(1, sources=50)
    for number in range(500):
        feed(node, stranger(node, b"s" * 32), (f"2a00:1450::{number:x}", 1000), 0.0)
    assert node.counters["dropped_source_rate"] == 400
