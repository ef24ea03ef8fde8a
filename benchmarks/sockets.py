"""UDP sockets of the measuring side."""

from __future__ import annotations

import socket
import struct

from codexdht.records import Endpoint

_BUFFER = 8 * 1024 * 1024


def connected(address: Endpoint, patience: float) -> socket.socket:
    """Return a UDP socket connected to an address.

    It blocks, and after `patience` seconds without a datagram `recv` raises BlockingIOError: a time-out of the kernel,
    because that of Python costs a system call more each time.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    seconds = int(patience)
    timeout = struct.pack("ll", seconds, int((patience - seconds) * 1e6))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    sock.connect(address)
    return sock
