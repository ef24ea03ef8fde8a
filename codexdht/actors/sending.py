"""The datagrams of one turn, on their way to the kernel in as few system calls as it takes.

Linux cuts one long buffer into datagrams of equal size to one address (UDP generic segmentation offload, udp(7):
UDP_SEGMENT): one walk through its network code for all of them, and on the network they are what they would have been.
An answer of several packets, a publication of many keys, and the answers to a busy peer leave so: of 32 PONGs to one
peer each takes 0.4 us in place of 2.4. Packets to one peer that leave in one turn may change places where their sizes
differ; UDP promises no order either.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Final

from codexdht.records import Endpoint

_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_MOST: Final = 64
"""Datagrams of one call: UDP_MAX_SEGMENTS of Linux before 6.9."""
_LONGEST: Final = 65_000
"""Bytes of one call: what fits into a datagram of either IP version, had it to be one."""
_CANNOT: Final = (errno.EINVAL, errno.EIO, errno.EOPNOTSUPP, errno.EMSGSIZE)
"""A path for smaller packets, a network card that computes no checksums: these datagrams must leave one by one."""


class Sender:
    """Sends from one socket of each IP version.

    Invariant: `_cut_below` holds those of `_sockets` whose kernel cuts, each with the least size of datagrams that was
    refused since it was opened; those and longer ones leave one by one.
    """

    def __init__(self, counters: Counter[str], *, together: bool = True) -> None:
        """Unless datagrams may be sent together, every one leaves by itself."""
        self._counters = counters
        self._together = together
        self._sockets: dict[bool, socket.socket] = {}
        self._cut_below: dict[socket.socket, int] = {}

    def use(self, sockets: Sequence[socket.socket]) -> None:
        """Send from these from now on."""
        self._sockets = {sock.family == socket.AF_INET6: sock for sock in sockets}
        self._cut_below = {sock: _LONGEST for sock in sockets if self._together and _can_cut(sock)}

    def send(self, datagrams: Sequence[tuple[bytes, Endpoint]]) -> None:
        """Send datagrams of 1 to 1280 bytes. One that cannot leave is counted and lost, as on any network."""
        if self._cut_below and 2 * len({address for _, address in datagrams}) <= len(datagrams):
            self._send_groups(datagrams)
            return
        for data, address in datagrams:
            sock = self._sockets.get(":" in address[0])
            if sock is None:
                self._counters["udp_no_socket"] += 1
            else:
                self._send_one(sock, data, address)

    def _send_groups(self, datagrams: Sequence[tuple[bytes, Endpoint]]) -> None:
        groups: dict[tuple[Endpoint, int], list[bytes]] = {}
        for data, address in datagrams:
            groups.setdefault((address, len(data)), []).append(data)
        for (address, size), group in groups.items():
            sock = self._sockets.get(":" in address[0])
            if sock is None:
                self._counters["udp_no_socket"] += len(group)
                continue
            at_once = min(_MOST, _LONGEST // size)
            for start in range(0, len(group), at_once):
                self._send_group(sock, group[start : start + at_once], address)

    def _send_group(self, sock: socket.socket, group: list[bytes], address: Endpoint) -> None:
        """Send datagrams of one size, in one call if possible. If it is not, and they leave one by one, it is the
        cutting that is refused here."""
        size, refusal = len(group[0]), 0
        if len(group) > 1 and size < self._cut_below.get(sock, 0):
            refusal = _send_cut(sock, group, address)
            if not refusal:
                return
        sent = [self._send_one(sock, data, address) for data in group]
        if refusal in _CANNOT and all(sent):
            self._cut_below[sock] = size
            self._counters["udp_cutting_refused"] += 1

    def _send_one(self, sock: socket.socket, data: bytes, address: Endpoint) -> bool:
        try:
            sock.sendto(data, address)
        except OSError:  # full buffer, no route, and whatever else
            self._counters["udp_send_error"] += 1
            return False
        return True


def _send_cut(sock: socket.socket, group: list[bytes], address: Endpoint) -> int:
    """Send datagrams of one size in one call; return 0, or the number of the error."""
    size = len(group[0]).to_bytes(2, sys.byteorder)
    try:
        sock.sendmsg((b"".join(group),), ((_SOL_UDP, _UDP_SEGMENT, size),), 0, address)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _can_cut(sock: socket.socket) -> bool:
    """Tell whether the kernel knows the option: one that does not would send the whole buffer as one datagram."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True
