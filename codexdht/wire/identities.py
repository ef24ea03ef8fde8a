"""What the wire actor remembers of peers that have shown who they are, so that no handshake waits for another actor."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from codexdht.records import Endpoint, SignedPeerRecord
from codexdht.wire.packet import ID_SIZE, IV_SIZE, MAX_SENT, STATIC_SIZE, TAG_SIZE

_LARGEST_KEPT: Final = MAX_SENT - IV_SIZE - STATIC_SIZE - (ID_SIZE + 2) - 72 - 37 - TAG_SIZE
"""Bytes of a record that a handshake packet has room for; usual ones have 170 to 190."""


class _Identity(NamedTuple):
    public_key: bytes
    seq: int
    record: bytes
    endpoint: Endpoint | None


class Identities:
    """Public key, and the verified record that came with the last handshake that brought one, by node id. At the limit
    the least recently used leaves: its node will send its record again.

    A record of a lower seq takes the place of one of a higher: its owner has just shown who it is, and deployed peers
    begin their seq anew when they are restarted. That is also why a node that comes from elsewhere than its record says
    is asked for the one it has now.

    The record is kept because its node does not send it again, and routing may have forgotten a node that was away for
    long. One that is too large for a packet is not, so that nobody can fill the memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, _Identity] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def seq(self, node_id: bytes, address: Endpoint) -> int:
        """Return the seq to challenge a node with that comes from an address: of its record, or 0 when there is none,
        or none of this address."""
        known = self._known.get(node_id)
        return 0 if known is None or known.endpoint != address else known.seq

    def public_key(self, node_id: bytes) -> bytes | None:
        """Return the 33-byte key of a node, if it is known; it is the most recently used then."""
        known = self._known.get(node_id)
        if known is None:
            return None
        self._known.move_to_end(node_id)
        return known.public_key

    def record(self, node_id: bytes) -> bytes:
        """Return the encoded record of a node, empty if none is kept."""
        known = self._known.get(node_id)
        return b"" if known is None else known.record

    def learn(self, record: SignedPeerRecord) -> None:
        """Remember the node of a verified record that has come with a handshake of it."""
        kept = record.encoded if len(record.encoded) <= _LARGEST_KEPT else b""
        self._known[record.node_id] = _Identity(record.public_key, record.seq, kept, record.endpoint)
        self._known.move_to_end(record.node_id)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
