"""Which wire process a peer belongs to, as the actors and the kernel decide it."""

from __future__ import annotations

import ipaddress
import select
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.actors.place import owner, shares_of
from codexdht.actors.steering import program_for, steer
from codexdht.actors.udp import bind_udp
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    Call,
    Close,
    Hello,
    NodeLife,
    Open,
    PeerReply,
    Stats,
    process_name,
)

IPV4 = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
IPV6 = st.integers(0, 2**128 - 1).map(lambda n: str(ipaddress.IPv6Address(n)))
SPECIAL = st.sampled_from(["127.0.0.1", "127.9.8.7", "::1", "::2", "::", "0.0.0.0", "::1:0:0:1", "fe80::1"])
PORTS = st.integers(1, 65535)
NETWORK = 0xFFF00000


ALU: dict[int, Callable[[int, int, int], int]] = {
    0xAC: lambda a, x, _: a ^ x,
    0x4C: lambda a, x, _: a | x,
    0x24: lambda a, _, k: a * k & 0xFFFFFFFF,
    0x74: lambda a, _, k: a >> k,
    0x94: lambda a, _, k: a % k,
}


def run_bpf(program: list[tuple[int, int, int, int]], packet: bytes) -> int:
    """Run a program of classic BPF over an IP packet, by its definition."""
    a = x = at = 0
    memory: dict[int, int] = {}
    while program[at][0] != 0x16:
        code, on_true, on_false, k = program[at]
        at += 1
        if code in (0x20, 0x28):
            a = int.from_bytes(packet[k - NETWORK :][: 4 if code == 0x20 else 2], "big")
        elif code == 0x02:
            memory[k] = a
        elif code == 0x60:
            a = memory[k]
        elif code == 0x07:
            x = a
        elif code in (0x05, 0x15):
            at += k if code == 0x05 else on_true if a == k else on_false
        else:
            a = ALU[code](a, x, k)
    return a


def packet_from(host: str, port: int) -> bytes:
    """Return the IP and UDP headers of a packet, as far as a program reads them."""
    source = ipaddress.ip_address(host).packed
    start, end = (b"\x60" + bytes(7), bytes(16)) if len(source) == 16 else (b"\x45" + bytes(11), bytes(4))
    return start + source + end + port.to_bytes(2, "big") + bytes(6)


@given(st.one_of(IPV4, IPV6, SPECIAL), PORTS, st.integers(1, 8))
def test_kernel_and_actors_agree(host: str, port: int, processes: int) -> None:
    """The program names for every source address the process that `owner` names."""
    program = program_for(socket.AF_INET6 if ":" in host else socket.AF_INET, processes)
    assert run_bpf(program, packet_from(host, port)) == owner(host, port, processes)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_does_so(host: str) -> None:
    """Real datagrams of many senders arrive where `owner` says."""
    first = bind_udp((host, 0), shared=True)
    group = [first, *(bind_udp(first.getsockname()[:2], shared=True) for _ in range(2))]
    steer(first, len(group))
    for _ in range(40):
        with bind_udp((host, 0)) as sender:
            sender.sendto(b"datagram", first.getsockname()[:2])
            expected = group[owner(*sender.getsockname()[:2], len(group))]
            assert select.select(group, [], [], 5)[0] == [expected]
            expected.recv(100)
    for sock in group:
        sock.close()


@given(IPV4.filter(lambda host: not host.startswith("127.")), PORTS, PORTS)
def test_one_address_belongs_to_one_process(host: str, port: int, other: int) -> None:
    """Whatever the ports, so that limits per address hold."""
    assert owner(host, port, 8) == owner(host, other, 8)


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_one_ipv6_network_belongs_to_one_process(network: int, left: int, right: int) -> None:
    """All addresses of a /64 do."""
    hosts = [str(ipaddress.IPv6Address(network << 64 | rest)) for rest in (left, right)]
    assert owner(hosts[0], 1, 8) == owner(hosts[1], 2, 8)


def test_addresses_are_spread() -> None:
    """Neighbouring addresses part: of 256 each of 8 processes gets some 32."""
    counts = [0] * 8
    for last in range(256):
        counts[owner(f"203.0.113.{last}", 9, 8)] += 1
    assert min(counts) > 16
    assert max(counts) < 64


def test_each_process_gets_its_share() -> None:
    """What concerns a peer goes to its owner; opening, records and votes to the first; the rest to all, in order."""
    hosts = ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"]
    calls = [Call(n, 1.0, b"", b"", host, 9, 1, b"") for n, host in enumerate(hosts)]
    replies = [PeerReply(b"", host, 9, b"", 2, []) for host in hosts]
    first = [Open(4, 1, 1.0), AddressVoted("203.0.113.9", 9)]
    everyone = [Hello(2), NodeLife(4, 3), Close(4, 2, 1.0)]
    stats = [Stats(4, 3, 1.0, 0), Stats(4, 4, 1.0, 1), Stats(4, 5, 1.0, 2)]
    shares = shares_of([*calls, *first, *everyone, *stats, *replies], 3)
    for number, share in enumerate(shares):
        own = [owner(host, 9, 3) == number for host in hosts]
        expected = [call for call, mine in zip(calls, own, strict=True) if mine]
        expected += [*(first if number == 0 else []), *everyone, stats[number]]
        expected += [reply for reply, mine in zip(replies, own, strict=True) if mine]
        assert share == expected


def test_processes_have_names() -> None:
    """Only the second and later ones carry a number, so that one process is named as ever."""
    assert [process_name(Actor.WIRE, number) for number in range(3)] == ["wire", "wire-1", "wire-2"]
