"""What the wire actor remembers of peers that have shown who they are, so that no handshake waits for another actor."""

from __future__ import annotations

from collections import OrderedDict

from codexdht.records import SignedPeerRecord


class Identities:
    """Public key and record seq by node id, from verified records only. At the limit the least recently used leaves: it
    will send its record again."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def seq(self, node_id: bytes) -> int:
        """Return the seq of the last record seen of a node, 0 when there is none."""
        known = self._known.get(node_id)
        return 0 if known is None else known[1]

    def public_key(self, node_id: bytes) -> bytes | None:
        """Return the 33-byte key of a node, if it is known."""
        known = self._known.get(node_id)
        return None if known is None else known[0]

    def learn(self, record: SignedPeerRecord) -> None:
        """Remember the node of a verified record."""
        seq = max(record.seq, self.seq(record.node_id))
        self._known[record.node_id] = (record.public_key, seq)
        self._known.move_to_end(record.node_id)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
