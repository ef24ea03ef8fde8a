"""Several processes of the wire actor: which of them a peer belongs to, and what each is told.

A peer belongs to one process, by its address alone: the kernel gives that process all of its datagrams (`steering`),
and the other actors send it all that is for the peer. For IPv6 the /64 counts, so that whatever `wire.limits` counts
together is counted by one process. Loopback is the exception: all peers on one machine share that address, and no
limit concerns it by default; there the port counts, too.

The first process alone binds the sockets and signs this node's records; the others hear of both from it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from codexdht.messages.internal import (
    AddressVoted,
    Call,
    Message,
    Open,
    PeerReply,
    Stats,
    UpdateRecord,
)

MULTIPLIER: Final = 0x9E3779B1  # Knuth's multiplicative hash: neighbouring addresses part
SHIFT: Final = 16
_FOR_THE_FIRST: Final = (Open, UpdateRecord, AddressVoted)


class Place(NamedTuple):
    """Which of how many wire processes one is. The first is number 0."""

    number: int = 0
    processes: int = 1


ONLY: Final = Place()


@lru_cache(maxsize=16384)
def owner(host: str, port: int, processes: int) -> int:
    """Return the number of the wire process that a peer at this address belongs to, below `processes`."""
    if ":" in host:
        words = struct.unpack(">4I", socket.inet_pton(socket.AF_INET6, host.partition("%")[0]))
        value = words[0] ^ words[1]
        is_loopback = words == (0, 0, 0, 1)
    else:
        (value,) = struct.unpack(">I", socket.inet_pton(socket.AF_INET, host))
        is_loopback = value >> 24 == 127
    if is_loopback:
        value ^= port
    return int((value * MULTIPLIER & 0xFFFFFFFF) >> SHIFT) % processes


def shares_of(messages: Sequence[Message], processes: int) -> list[list[Message]]:
    """Return the messages for each process: what concerns a peer for its owner, the rest for all."""
    shares: list[list[Message]] = [[] for _ in range(processes)]
    for message in messages:
        if isinstance(message, (Call, PeerReply)):
            shares[owner(message.host, message.port, processes)].append(message)
        elif isinstance(message, Stats):
            shares[message.process].append(message)
        elif isinstance(message, _FOR_THE_FIRST):
            shares[0].append(message)
        else:
            for share in shares:
                share.append(message)
    return shares
