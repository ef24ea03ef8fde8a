"""Datagrams on their way to the kernel, between real sockets."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codexdht.actors.sending import Sender
from codexdht.actors.udp import bind_udp
from codexdht.records import Endpoint

HOSTS = ["127.0.0.1", "::1"]


class CountingSocket(socket.socket):
    """A UDP socket on loopback that counts system calls, and refuses what its kernel is to refuse."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.setblocking(False)
        self.bind((host, 0))
        self.calls: Counter[str] = Counter()
        self.knows_cutting = True
        self.refusal = 0

    def sendto(self, *args: object) -> int:
        self.calls["sendto"] += 1
        return super().sendto(*args)  # type: ignore[arg-type]

    def sendmsg(self, *args: object) -> int:
        self.calls["sendmsg"] += 1
        if self.refusal:
            raise OSError(self.refusal, os.strerror(self.refusal))
        return super().sendmsg(*args)  # type: ignore[arg-type]

    def getsockopt(self, *args: int) -> int:  # type: ignore[override]
        if not self.knows_cutting:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return super().getsockopt(*args)


class Setting:
    """A sender of both IP versions, and receivers."""

    def __init__(self, stack: ExitStack) -> None:
        self.counters: Counter[str] = Counter()
        self.v4, self.v6 = (stack.enter_context(CountingSocket(host)) for host in HOSTS)
        self.receivers = [stack.enter_context(bind_udp((host, 0))) for host in [*HOSTS, *HOSTS]]
        self.addresses: list[Endpoint] = [sock.getsockname()[:2] for sock in self.receivers]
        self.sender = Sender(self.counters)
        self.sender.use([self.v4, self.v6])

    def received(self, number: int = 0) -> list[bytes]:
        """Return what has come to a receiver: loopback has delivered when a send returns."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self.receivers[number].recv(65_535))
            except BlockingIOError:
                return found


@pytest.fixture
def setting() -> Iterator[Setting]:
    with ExitStack() as stack:
        yield Setting(stack)


def datagrams(count: int, size: int = 100) -> list[bytes]:
    return [number.to_bytes(size, "big") for number in range(count)]


@pytest.mark.parametrize("version", [0, 1])
def test_datagrams_of_one_size_to_one_peer_leave_in_one_call(setting: Setting, version: int) -> None:
    """They arrive one by one, whole and in order, over either IP version."""
    sent = datagrams(32)
    setting.sender.send([(data, setting.addresses[version]) for data in sent])
    assert setting.received(version) == sent
    assert (setting.v4, setting.v6)[version].calls == {"sendmsg": 1}


def test_an_answer_of_several_packets_needs_two_calls(setting: Setting) -> None:
    """Three full packets and the rest."""
    sent = [*datagrams(3, 1200), bytes(300)]
    setting.sender.send([(data, setting.addresses[0]) for data in sent])
    assert setting.received() == sent
    assert setting.v4.calls == {"sendmsg": 1, "sendto": 1}


def test_datagrams_to_many_peers_leave_one_by_one(setting: Setting) -> None:
    """Nothing can be put together, and nothing is tried."""
    setting.sender.send([(bytes(100), address) for address in setting.addresses])
    assert [setting.received(number) for number in range(4)] == [[bytes(100)]] * 4
    assert setting.v4.calls + setting.v6.calls == {"sendto": 4}


@pytest.mark.parametrize(
    ("count", "size", "calls"), [(64, 100, 1), (65, 100, 2), (108, 1200, 2), (109, 1200, 3)]
)
def test_more_than_one_call_can_hold(setting: Setting, count: int, size: int, calls: int) -> None:
    """64 datagrams and 65,000 bytes are the most for one."""
    sent = datagrams(count, size)
    setting.sender.send([(data, setting.addresses[0]) for data in sent])
    assert setting.received() == sent
    assert setting.v4.calls.total() == calls


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([1, 63, 64, 100, 1279, 1280]), st.binary(max_size=8)),
        max_size=150,
    )
)
@settings(max_examples=60)
def test_every_datagram_arrives_at_its_address(turn: list[tuple[int, int, bytes]]) -> None:
    """Whatever is sent to whom in one turn, each receiver gets its own, and those of one size in order."""
    with ExitStack() as stack:
        setting = Setting(stack)
        sent = [(to, tail.rjust(size, b"\0")[:size]) for to, size, tail in turn]
        setting.sender.send([(data, setting.addresses[to]) for to, data in sent])
        for number in range(4):
            wanted = [data for to, data in sent if to == number]
            assert sorted(setting.received(number), key=len) == sorted(wanted, key=len)
        assert not setting.counters


def test_a_kernel_that_cannot_cut_is_never_asked_to(setting: Setting) -> None:
    """It would send one long datagram; so all leave one by one."""
    setting.v4.knows_cutting = False
    setting.sender.use([setting.v4])
    sent = datagrams(8)
    setting.sender.send([(data, setting.addresses[0]) for data in sent])
    assert setting.received() == sent
    assert setting.v4.calls == {"sendto": 8}


def test_an_operator_can_have_every_datagram_sent_by_itself(setting: Setting) -> None:
    """For a network card that loses what it should cut."""
    sender = Sender(setting.counters, together=False)
    sender.use([setting.v4])
    sent = datagrams(8)
    sender.send([(data, setting.addresses[0]) for data in sent])
    assert setting.received() == sent
    assert setting.v4.calls == {"sendto": 8}


@pytest.mark.parametrize("refusal", [errno.EIO, errno.EINVAL])
def test_a_size_that_was_refused_is_not_tried_again(setting: Setting, refusal: int) -> None:
    """A path takes only small packets, or a network card cannot cut: nothing is lost, it is counted once, and such
    datagrams and longer ones leave one by one until the socket is opened anew. Shorter ones are still put together."""
    setting.v4.refusal = refusal
    for size in (1000, 1000, 1200):
        sent = datagrams(8, size)
        setting.sender.send([(data, setting.addresses[0]) for data in sent])
        assert setting.received() == sent
    assert setting.v4.calls == {"sendmsg": 1, "sendto": 24}
    assert setting.counters == {"udp_cutting_refused": 1}
    setting.v4.refusal = 0
    setting.sender.send([(data, setting.addresses[0]) for data in datagrams(8, 999)])
    assert setting.v4.calls == {"sendmsg": 2, "sendto": 24}
    setting.sender.use([setting.v4])
    setting.sender.send([(data, setting.addresses[0]) for data in datagrams(8, 1200)])
    assert setting.v4.calls == {"sendmsg": 3, "sendto": 24}


def test_a_full_buffer_does_not_end_the_cutting(setting: Setting) -> None:
    """What does not fit as a whole may fit one by one; the next turn is put together again."""
    setting.v4.refusal = errno.EAGAIN
    sent = datagrams(4)
    setting.sender.send([(data, setting.addresses[0]) for data in sent])
    setting.v4.refusal = 0
    setting.sender.send([(data, setting.addresses[0]) for data in sent])
    assert setting.received() == sent * 2
    assert setting.v4.calls == {"sendmsg": 2, "sendto": 4}
    assert not setting.counters


def test_an_address_that_nobody_can_send_to_does_not_end_the_cutting(setting: Setting) -> None:
    """A peer's record may name port 0: its datagrams are lost and counted, those of others go on as before."""
    setting.sender.send([(data, ("127.0.0.1", 0)) for data in datagrams(3)])
    assert setting.counters == {"udp_send_error": 3}
    setting.sender.send([(data, setting.addresses[0]) for data in datagrams(3)])
    assert setting.v4.calls == {"sendmsg": 2, "sendto": 3}


@pytest.mark.parametrize("count", [1, 5])
def test_no_socket_of_an_ip_version_is_counted(setting: Setting, count: int) -> None:
    """Alone or in a group; and after closing there is none at all."""
    setting.sender.use([setting.v4])
    setting.sender.send([(bytes(100), setting.addresses[1])] * count)
    assert setting.counters == {"udp_no_socket": count}
    setting.sender.use([])
    setting.sender.send([(bytes(100), setting.addresses[0])] * count)
    assert setting.counters == {"udp_no_socket": 2 * count}
