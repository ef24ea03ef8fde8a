"""What the wire actor remembers of peers that have shown who they are, so that no handshake waits for another actor."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from codexdht.records import SignedPeerRecord


class _Identity(NamedTuple):
    public_key: bytes
    seq: int
    record: bytes


class Identities:
    """Public key, and the verified record of the highest seq, by node id. At the limit the least recently used leaves:
    its node will send its record again.

    The record is kept because its node does not send it again: routing may have forgotten it, if it was away for long.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, _Identity] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def seq(self, node_id: bytes) -> int:
        """Return the seq of the last record seen of a node, 0 when there is none."""
        known = self._known.get(node_id)
        return 0 if known is None else known.seq

    def public_key(self, node_id: bytes) -> bytes | None:
        """Return the 33-byte key of a node, if it is known."""
        known = self._known.get(node_id)
        return None if known is None else known.public_key

    def record(self, node_id: bytes) -> bytes:
        """Return the encoded record of a node, empty if none is known."""
        known = self._known.get(node_id)
        return b"" if known is None else known.record

    def learn(self, record: SignedPeerRecord) -> None:
        """Remember the node of a verified record."""
        known = self._known.get(record.node_id)
        if known is None or record.seq > known.seq:
            self._known[record.node_id] = _Identity(record.public_key, record.seq, record.encoded)
        self._known.move_to_end(record.node_id)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
