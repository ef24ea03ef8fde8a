"""What one address, and all strangers together, may make a wire machine do (behaviour.md)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from codexdht.messages.discv5 import Kind, encode_outer
from codexdht.messages.internal import CallAnswer
from codexdht.wire.limits import Limits
from codexdht.wire.settings import WireSettings

Net = Any
PUBLIC = "8.8.8.8"


def test_whoareyou_limit(net: Net) -> None:
    """One public address gets 5 WHOAREYOU a second, whatever ids and ports it shows; loopback is exempt."""
    node = net.node(1)
    packets = [node.stranger(bytes([n]) * 32) for n in range(20)]
    for host, expected in ((PUBLIC, 5), ("127.0.0.1", 20), ("192.168.1.1", 20)):
        answers = [node.feed(data, (host, 1000 + n), 0.0) for n, data in enumerate(packets)]
        assert len([a for a in answers if a]) == expected
    assert node.counters["refused_whoareyou_rate"] == 15
    answers = [node.feed(data, (PUBLIC, 3000 + n), 1.0) for n, data in enumerate(packets)]
    assert len([a for a in answers if a]) == 5


def test_whoareyou_limit_holds_in_any_second(net: Net) -> None:
    """Not only at once: packets spread over three seconds get 15, never more than 5 within one second."""
    node, sent = net.node(1), []
    for number in range(120):
        now = number * 0.025
        if node.feed(node.stranger(bytes([number]) * 32), (PUBLIC, 1000 + number), now):
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
        node.feed(node.stranger(b"s" * 32), (host, 1000 + number), 0.0)
    assert node.counters["dropped_source_rate"] == (50 if limited else 0)


def test_ipv6_is_counted_by_network(net: Net) -> None:
    """Addresses of one /64 share their limits."""
    node = net.node(1)
    for number in range(150):
        node.feed(node.stranger(b"s" * 32), (f"2a00:1450::{number:x}", 1000), 0.0)
    assert node.counters["dropped_source_rate"] == 50


def test_all_strangers_together(net: Net) -> None:
    """All addresses without a session share one limit, so that many sources are no way around it."""
    node = net.node(1, strangers_burst=300.0, strangers_rate=10.0)
    for number in range(400):
        node.feed(node.stranger(b"s" * 32), (f"9.9.{number // 250}.{number % 250}", 1), 0.0)
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
        b.feed(b.stranger(b"s" * 32), (f"9.9.9.{number % 250}", number), net.now)
    net.run()
    assert 999 <= b.counters["served_ping"] <= 1001
    assert b.counters["dropped_session_rate"] >= 99


def test_address_is_ignored(net: Net) -> None:
    """100 malformed packets within 10 s from one address: it is ignored for 60 s, then heard again."""
    node = net.node(1, source_burst=1000.0)
    for number in range(100):
        node.feed(b"x" * 80, (PUBLIC, number), number * 0.05)
    assert node.counters["addresses_ignored"] == 1
    assert node.feed(node.stranger(b"s" * 32), (PUBLIC, 7), 10.0) == []
    assert node.counters["dropped_ignored"] == 1
    assert node.feed(node.stranger(b"s" * 32), (PUBLIC, 7), 65.0) == [63]


def test_the_ten_seconds_begin_with_the_first_bad_packet(net: Net) -> None:
    """Not when the address was heard of: 100 bad packets within 7 s are too many whenever they come."""
    node = net.node(1)
    node.feed(node.stranger(b"s" * 32), (PUBLIC, 1), 0.0)
    for number in range(100):
        node.feed(b"x" * 80, (PUBLIC, 1), 5.0 + number * 0.07)
    assert node.counters["addresses_ignored"] == 1


def test_slow_rubbish_is_not_ignored(net: Net) -> None:
    """The same number of bad packets over a longer time does not count."""
    node = net.node(1)
    for number in range(300):
        node.feed(b"x" * 80, (PUBLIC, 1), number * 0.2)
    assert node.counters["addresses_ignored"] == 0


def test_unreadable_packets_behind_a_challenge_count(net: Net) -> None:
    """The first unreadable packet of a peer begins a handshake; 100 more that it sends meanwhile are too many."""
    node = net.node(1, source_burst=1000.0, challenge_seconds=60.0)
    for number in range(100):
        node.feed(node.stranger(b"s" * 32), (PUBLIC, 7), number * 0.05)
    assert node.counters["addresses_ignored"] == 0
    node.feed(node.stranger(b"s" * 32), (PUBLIC, 7), 5.0)
    assert node.counters["addresses_ignored"] == 1


def test_a_handshake_makes_up_for_what_could_not_be_read_before_it(net: Net) -> None:
    """Packets that were under way when the session was lost do not count with those after it."""
    a, b = net.node(1, PUBLIC), net.node(2, "8.8.4.4", source_burst=1000.0)
    for _ in range(2):
        net.call(a, b)
        net.step()
        for _ in range(70):
            b.machine.receive_datagram(b.stranger(a.node_id), a.address, net.now)
        net.run()
        a.machine._sessions.drop((b.node_id, b.address))
        net.now += 2.0
    assert b.counters["addresses_ignored"] == 0
    assert len(a.take(CallAnswer)) == 2


def test_a_handshake_makes_up_for_nothing_else(net: Net) -> None:
    """Whoever has a session, or makes new ones all the time, is ignored for malformed packets as anybody is."""
    a, b = net.node(1, PUBLIC), net.node(2, "8.8.4.4", source_burst=1000.0)
    for _ in range(2):
        net.call(a, b)
        net.run()
        a.machine._sessions.drop((b.node_id, b.address))
        for _ in range(70):
            b.feed(b"x" * 80, a.address, net.now)
    assert b.counters["addresses_ignored"] == 1


def test_exempt_addresses_are_never_ignored(net: Net) -> None:
    """Nor counted among those that are."""
    node = net.node(1)
    for _ in range(300):
        node.feed(b"x" * 80, ("127.0.0.1", 7), 0.0)
    assert node.counters["addresses_ignored"] == 0
    assert node.feed(node.stranger(b"s" * 32), ("127.0.0.1", 7), 0.0) == [63]


def test_silence_saves_nothing_up(net: Net) -> None:
    """However long an address was silent, 100 packets at once are looked at."""
    node = net.node(1)
    for now in (0.0, 1000.0):
        for number in range(150):
            node.feed(node.stranger(b"s" * 32), (PUBLIC, 1000 + number), now)
    assert node.counters["dropped_source_rate"] == 100


def test_several_processes_share_the_limit_on_strangers(net: Net) -> None:
    """Each of two processes takes half of the burst, and half of the rate after that."""
    node = net.node(1, strangers_burst=300.0, strangers_rate=20.0, processes=2)
    for now in (0.0, 1.0):
        for number in range(200):
            node.feed(node.stranger(b"s" * 32), (f"9.9.9.{number}", 1), now)
    assert node.counters["dropped_strangers_rate"] == 50 + 190


def test_own_handshakes_get_through_a_flood(net: Net) -> None:
    """While strangers use up all of their share, a peer that this node asks for a session may still answer; when the
    request has ended it is a stranger again."""
    a, b = net.node(1, PUBLIC, strangers_burst=10.0, strangers_rate=1.0), net.node(2, "8.8.4.4")
    for number in range(20):
        a.feed(a.stranger(b"s" * 32), (f"9.9.9.{number}", 1), net.now)
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
        node.feed(node.stranger(b"s" * 32), (f"2a00:1450::{number:x}", 1000), 0.0)
    assert node.counters["dropped_source_rate"] == 400


def test_what_is_forgiven_is_no_credit() -> None:
    """However much is forgiven, an address that goes on with bad packets is ignored after as many as any other."""
    counters: Counter[str] = Counter()
    limits = Limits(WireSettings(bad_packets=3), counters)
    address = (PUBLIC, 9000)
    limits.bad(address, 0.0)
    limits.forgive(address, 100, 0.0)
    for _ in range(2):
        limits.bad(address, 1.0)
    assert not counters["addresses_ignored"]
    limits.bad(address, 1.0)
    assert counters["addresses_ignored"] == 1
