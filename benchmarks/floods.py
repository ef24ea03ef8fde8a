"""The loops that drive the load: so many requests outstanding, the next when an answer has come.

Nothing is decrypted while the clock runs: what arrives is kept with its time, and read afterwards.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import NamedTuple

from benchmarks.peer import Peer
from codexdht.errors import DecodeError

_LARGEST = 2048


class Raw(NamedTuple):
    """What a flood leaves: when each burst began to leave, in order; datagrams as (time, socket's index, bytes); wall
    and CPU seconds of this process."""

    sent: list[float]
    received: list[tuple[float, int, bytes]]
    seconds: float
    cpu_seconds: float


def flood(sock: socket.socket, bursts: Sequence[Sequence[bytes]], window: int, parts: int) -> Raw:
    """Send bursts of packets, each answered by `parts` datagrams, with `window` bursts outstanding.

    When nothing comes for the socket's patience, what is outstanding counts as lost and the flood goes on.
    """
    send, recv = sock.send, sock.recv
    sent: list[float] = []
    received: list[tuple[float, int, bytes]] = []
    waiting = iter(bursts)
    total = len(bursts)
    credit = window * parts
    started, cpu = perf_counter(), process_time()
    while len(received) < total * parts:
        while credit >= parts and len(sent) < total:
            sent.append(perf_counter())
            for packet in next(waiting):
                send(packet)
            credit -= parts
        try:
            data = recv(_LARGEST)
        except BlockingIOError:
            if len(sent) == total:
                break
            credit = window * parts
        else:
            received.append((perf_counter(), 0, data))
            credit += 1
    return _raw(sent, received, started, cpu)


def flood_sockets(
    socks: Sequence[socket.socket], packets: Sequence[tuple[int, bytes]], window: int, patience: float
) -> Raw:
    """Send packets, each from the socket of its index and answered by one datagram."""
    sent: list[float] = []
    received: list[tuple[float, int, bytes]] = []
    index = {sock.fileno(): number for number, sock in enumerate(socks)}
    credit = window
    with select.epoll() as epoll:
        for sock in socks:
            epoll.register(sock.fileno(), select.EPOLLIN)
        started, cpu = perf_counter(), process_time()
        while len(received) < len(packets):
            for number, packet in packets[len(sent) : len(sent) + credit]:
                sent.append(perf_counter())
                socks[number].send(packet)
            ready = epoll.poll(patience)
            if not ready and len(sent) == len(packets):
                break
            for descriptor, _ in ready:
                number = index[descriptor]
                received.append((perf_counter(), number, socks[number].recv(_LARGEST)))
            credit = len(ready) or window
    return _raw(sent, received, started, cpu)


def _raw(sent: list[float], received: list[tuple[float, int, bytes]], started: float, cpu: float) -> Raw:
    """Close a flood: it ended with its last answer."""
    cpu_seconds = process_time() - cpu
    end = received[-1][0] if received else perf_counter()
    return Raw(sent, received, end - started, cpu_seconds)


class HandshakeFlood:
    """Lets each of many peers make a session and have its PING answered, one after the other on every socket.

    `_places` holds for every busy socket the peer that has it and whether that has sent its handshake. A peer that
    hears nothing for `patience` gives its place to the next.
    """

    def __init__(self, socks: Sequence[socket.socket], peers: Sequence[Peer], patience: float) -> None:
        self._socks = {sock.fileno(): sock for sock in socks}
        self._peers = peers
        self._patience = patience
        self._hellos = [peer.hello() for peer in peers]
        self._places: dict[int, tuple[int, bool]] = {}
        self._sent: list[float] = []
        self._received: list[tuple[float, int, bytes]] = []

    def run(self) -> Raw:
        """Return the answers to the peers' PINGs, with the peer's index in place of the socket's."""
        with select.epoll() as epoll:
            started, cpu = perf_counter(), process_time()
            for descriptor in self._socks:
                epoll.register(descriptor, select.EPOLLIN)
                self._begin(descriptor)
            while self._places:
                ready = epoll.poll(self._patience)
                for descriptor, _ in ready:
                    self._take(descriptor)
                for descriptor in () if ready else list(self._places):
                    self._begin(descriptor)
        return _raw(self._sent, self._received, started, cpu)

    def _begin(self, descriptor: int) -> None:
        self._places.pop(descriptor, None)
        number = len(self._sent)
        if number < len(self._peers):
            self._places[descriptor] = (number, False)
            self._sent.append(perf_counter())
            self._socks[descriptor].send(self._hellos[number])

    def _take(self, descriptor: int) -> None:
        data = self._socks[descriptor].recv(_LARGEST)
        number, greeted = self._places.get(descriptor, (0, False))
        if greeted:
            self._received.append((perf_counter(), number, data))
            self._begin(descriptor)
            return
        peer = self._peers[number]
        try:
            packet = peer.answer(data, peer.ping(request_id(number)))
        except DecodeError:  # an answer to the peer before, too late
            return
        self._socks[descriptor].send(packet)
        self._places[descriptor] = (number, True)


def request_id(number: int) -> bytes:
    """Return the id of a row's request of this number."""
    return number.to_bytes(8, "big")
