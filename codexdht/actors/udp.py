"""The UDP sockets of the wire actor, and how its local state reaches the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import Final, Protocol

import zmq

from codexdht.actors.sending import Sender
from codexdht.errors import StartupError, StorageFull
from codexdht.records import Endpoint
from codexdht.wire.machine import WireMachine

_DRAIN: Final = 32
"""Datagrams of one turn. What goes on to another actor leaves in one message behind them; with many more a turn, wire
and store take turns at waiting for each other: GET_PROVIDERS of one busy peer came at 20,000/s in place of 25,000/s."""
_LARGEST: Final = 65_507
_BUFFER: Final = 4 * 1024 * 1024


class Sockets(Protocol):
    """Where a wire process has its sockets from: `OwnSockets`, or one of several `sharing.SharedSockets`."""

    def open(self) -> list[socket.socket]:
        """Return a bound socket for every listen address; none if they are not to be had yet. Raises StartupError."""

    def release(self) -> None:
        """Close them."""


class OwnSockets:
    """The sockets of the only wire process."""

    def __init__(self, listen: list[Endpoint]) -> None:
        self._listen = listen
        self._open: list[socket.socket] = []

    def open(self) -> list[socket.socket]:
        """See Sockets."""
        with contextlib.ExitStack() as undo:
            self._open = [undo.enter_context(bind_udp(endpoint)) for endpoint in self._listen]
            undo.pop_all()
        return self._open

    def release(self) -> None:
        """See Sockets."""
        for sock in self._open:
            sock.close()


class UdpPort:
    """Opens, serves and closes the sockets as the machine wants them."""

    def __init__(
        self,
        machine: WireMachine,
        source: Sockets,
        poller: zmq.Poller,
        *,
        must_bind: bool,
        send_together: bool,
    ) -> None:
        self._machine = machine
        self._source = source
        self._poller = poller
        self._must_bind = must_bind
        self._sockets: list[socket.socket] = []
        self._sender = Sender(machine.counters, together=send_together)

    def drain(self, now: float) -> bool:
        """Give the machine up to 32 datagrams of each socket."""
        receive = self._machine.receive_datagram
        more = False
        for sock in self._sockets:
            recvfrom = sock.recvfrom
            try:
                for _ in range(_DRAIN):
                    data, address = recvfrom(_LARGEST)
                    receive(data, address[:2], now)
                more = True
            except BlockingIOError:
                continue
            except OSError:  # an ICMP error of an earlier datagram
                self._machine.counters["udp_receive_error"] += 1
        return more

    def flush(self, now: float) -> None:
        """Send the datagrams, and bind or close as wanted."""
        machine = self._machine
        if machine.datagrams:
            self._sender.send(machine.datagrams)
            machine.datagrams.clear()
        if machine.wants_socket != bool(self._sockets):
            self._bind(now) if machine.wants_socket else self._unbind(now)
            # Otherwise it waits for the first process to bind them.
            if machine.wants_socket == bool(self._sockets):
                self.flush(now)

    def _bind(self, now: float) -> None:
        try:
            self._sockets = self._source.open()
        except StartupError as error:
            self._fail(str(error), now)
            return
        for sock in self._sockets:
            self._poller.register(sock.fileno(), zmq.POLLIN)
        self._sender.use(self._sockets)
        if self._sockets:
            self._machine.socket_bound([sock.getsockname()[:2] for sock in self._sockets], now)

    def _fail(self, text: str, now: float) -> None:
        if self._must_bind:
            raise StartupError(text)
        self._machine.socket_failed(text, now)

    def _unbind(self, now: float) -> None:
        self._close_sockets()
        self._machine.socket_closed(now)

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            self._poller.unregister(sock.fileno())
        self._sockets = []
        self._sender.use(())
        self._source.release()

    def close(self) -> None:
        """Close the sockets."""
        self._close_sockets()


def bind_udp(endpoint: Endpoint, shared: bool = False) -> socket.socket:
    """Return a bound, non-blocking UDP socket; `shared` lets others of this user bind the same port. Raises
    StartupError."""
    family = socket.AF_INET6 if ":" in endpoint[0] else socket.AF_INET
    try:
        with contextlib.ExitStack() as undo:
            sock = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            _prepare(sock, shared)
            sock.bind(endpoint)
            undo.pop_all()
    except OSError as error:  # also where the kernel has no IPv6
        raise StartupError(_complaint(endpoint, error)) from error
    return sock


def _prepare(sock: socket.socket, shared: bool) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    sock.setblocking(False)


def _complaint(endpoint: Endpoint, error: OSError) -> str:
    reason = os.strerror(error.errno or errno.EIO)
    return (
        f"cannot bind udp {endpoint[0]} port {endpoint[1]}: {reason}; "
        "change network.listen or stop what uses it"
    )


def save_state(path: Path, data: bytes) -> None:
    """Replace the file of the local state. Raises StorageFull when the disk does not take it."""
    try:
        write_durably(path, data)
    except OSError as error:
        raise StorageFull(f"{path} cannot be written: {error.strerror}") from error


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file by data so that after a crash at any moment it holds the old content or the new."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
