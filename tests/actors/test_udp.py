"""What of the UDP port can be tested without a node."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from codexdht.actors.udp import bind_udp, save_state, write_durably
from codexdht.errors import StartupError, StorageFull


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_travel_over_both_families(host: str) -> None:
    """A bound socket receives what another sends to it, IPv4 and IPv6."""
    with bind_udp((host, 0)) as receiver, bind_udp((host, 0)) as sender:
        sender.sendto(b"datagram", receiver.getsockname()[:2])
        receiver.settimeout(5)
        data, address = receiver.recvfrom(100)
    assert (data, address[0]) == (b"datagram", host)


def test_a_taken_port_raises() -> None:
    """Binding never shares a port by accident."""
    with bind_udp(("127.0.0.1", 0)) as first, pytest.raises(StartupError, match="in use"):
        bind_udp(first.getsockname())


def test_a_kernel_without_ipv6_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not even make the socket (ipv6.disable=1); that is said as any other reason is."""

    def no_socket(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr("codexdht.actors.udp.socket.socket", no_socket)
    with pytest.raises(StartupError, match="cannot bind udp :: port 1: Address family not supported"):
        bind_udp(("::", 1))


def test_families_are_bound_apart() -> None:
    """An IPv6 socket leaves the IPv4 port alone: one port number serves both."""
    with bind_udp(("0.0.0.0", 0)) as v4, bind_udp(("::", v4.getsockname()[1])) as v6:
        assert v6.family == socket.AF_INET6


def test_a_file_is_replaced_whole(folder: Path) -> None:
    """A durable write leaves the new content and no partial file."""
    path = folder / "wire.state"
    write_durably(path, b"old")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(folder.iterdir()) == [path]


def test_a_full_disk_is_said_and_leaves_the_file_of_before(folder: Path) -> None:
    """What could not be written is not half there."""
    path = folder / "wire.state"
    save_state(path, b"old")
    path.with_suffix(".partial").symlink_to("/dev/full")
    with pytest.raises(StorageFull, match=r"wire.state cannot be written: No space left"):
        save_state(path, b"new")
    assert path.read_bytes() == b"old"
