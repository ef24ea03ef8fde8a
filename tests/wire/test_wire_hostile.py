"""What hostile or broken peers may and may not do to a wire machine (behaviour.md)."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages.discv5 import Kind, encode_outer, encode_ping
from codexdht.messages.internal import CallAnswer, CallFailed, PeerSeen
from codexdht.wire.crypto import StandardCrypto
from codexdht.wire.packet import decode_packet, encode_header, encode_packet, encode_whoareyou_auth

Net = Any
PUBLIC = "8.8.8.8"
CRYPTO = StandardCrypto()


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
        answers = node.feed(data, ("127.0.0.1", 1), now)
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
    assert b.feed(handshake, a.address, net.now) == []
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
    assert a.feed(challenge, ("127.0.0.1", 5), net.now) == []
    assert a.counters["whoareyou_unexpected"] == 1
    net.wait(1.0)
    assert a.feed(challenge, b.address, net.now) == []


def test_repeated_whoareyou(net: Net) -> None:
    """The same WHOAREYOU again gets the same handshake again, three times at most."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.step()
    [(challenge, _)] = b.machine.datagrams
    sizes = [a.feed(challenge, b.address, net.now) for _ in range(6)]
    assert [len(s) for s in sizes] == [1, 1, 1, 1, 0, 0]
    assert a.counters["whoareyou_repeated"] == 2


def test_whoareyou_for_each_of_many_requests(net: Net) -> None:
    """Each gets its own handshake, and no request goes along with those of others more than once."""
    a, b = net.node(1), net.node(2)
    net.call(a, b)
    net.run()
    for _ in range(30):
        net.call(a, b)
    sent = [decode_packet(CRYPTO.mask(b.node_id), data).nonce for data, _ in a.machine.datagrams]
    a.machine.datagrams.clear()
    packets = 0
    for number, nonce in enumerate(sent):
        header = encode_header(1, nonce, encode_whoareyou_auth(bytes([number] * 16), 0))
        challenge = encode_packet(CRYPTO.mask(a.node_id), b"i" * 16, header, b"")
        packets += len(a.feed(challenge, b.address, net.now))
    assert packets == 30 + 29


def test_challenge_is_sent_again_not_made_anew(net: Net) -> None:
    """More unreadable packets of one peer get the same challenge, three more times at most, for 1 s."""
    node, sent = net.node(1), []
    for number in range(6):
        node.machine.receive_datagram(node.stranger(b"s" * 32), ("127.0.0.1", 7), 0.1 * number)
    sent = [data for data, _ in node.machine.datagrams]
    assert len(sent) == 4
    assert len(set(sent)) == 1
    node.machine.datagrams.clear()
    node.machine.receive_datagram(node.stranger(b"s" * 32), ("127.0.0.1", 7), 1.1)
    assert node.machine.datagrams[0][0] != sent[0]


def test_tables_are_bounded(net: Net) -> None:
    """Challenges, sources and sessions stay within their settings under any number of strangers."""
    node = net.node(1, challenges=10, sources=20, sessions=3)
    for number in range(200):
        source = number.to_bytes(32, "big")
        node.feed(node.stranger(source), (f"10.0.{number // 250}.{number % 250}", 1), 0.0)
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
            b.feed(damage(good, len(good) - 1, 1), a.address, net.now)
        net.run()
        assert b.counters["handshakes_accepted"] - before == accepted
        net.wait(2.0)


def test_traffic_of_one_seed_is_reproducible(net: Net) -> None:
    """Fuzzed traffic leaves the same counters twice."""
    counters = []
    for run in (net, type(net)()):
        node, chance = run.node(1), seeded(5)
        for _ in range(200):
            node.feed(chance.randbytes(chance.randrange(150)), ("9.9.9.9", 1), 0.0)
        counters.append(dict(node.counters))
    assert counters[0] == counters[1]


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
    assert b.feed(packet, a.address, net.now) != []
    assert not b.machine._sessions.get((a.node_id, a.address)).ping
