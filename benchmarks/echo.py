"""E, the unit of all costs: server CPU time of one datagram in and out of a plain blocking Python UDP echo.

Machines differ and are shared, so a cost in E says more than one in microseconds (targets: in E).
"""

from __future__ import annotations

import socket
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median

from benchmarks.processes import cpu_seconds
from benchmarks.sockets import connected

SIZE = 120
_WINDOW = 64
_DATAGRAMS = 30_000


def _serve(ready: Connection) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        ready.send(sock.getsockname())
        while True:
            data, address = sock.recvfrom(2048)
            if not data:
                return
            sock.sendto(data, address)


def measure_e(rounds: int = 3) -> float:
    """Return E in seconds, the median of some rounds. Raises BlockingIOError when loopback loses datagrams."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    with connected(ours.recv(), 5.0) as sock:
        _exchange(sock, _DATAGRAMS // 10)
        costs = [_round(sock, server.pid or 0) for _ in range(rounds)]
        sock.send(b"")
    server.join()
    return median(costs)


def _round(sock: socket.socket, server: int) -> float:
    before = cpu_seconds(server)
    _exchange(sock, _DATAGRAMS)
    return (cpu_seconds(server) - before) / _DATAGRAMS


def _exchange(sock: socket.socket, datagrams: int) -> None:
    data = bytes(SIZE)
    for _ in range(_WINDOW):
        sock.send(data)
    for _ in range(datagrams - _WINDOW):
        sock.recv(2048)
        sock.send(data)
    for _ in range(_WINDOW):
        sock.recv(2048)
