"""The provider records: one for each peer that provides anything, found by node id and by number."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from codexdht.store.backend import Backend, NoRoom, Table, damaged
from codexdht.store.layout import NEXT_NUMBER_ROW, NUMBER_SIZE

_NODE_ID: Final = 32
_SEQ_END: Final = 40


class Peer(NamedTuple):
    """A peer: its number, node id, and its record, which was verified before it was stored."""

    number: bytes
    node_id: bytes
    seq: int
    encoded: bytes


class Peers:
    """The tables PEERS and RECORDS.

    `_known` (by number, least recently used first) and `_by_id` hold the same peers, those used last, as the tables do.
    """

    def __init__(self, backend: Backend, cache_size: int) -> None:
        self._backend = backend
        self._cache_size = cache_size
        self._known: OrderedDict[bytes, Peer] = OrderedDict()
        self._by_id: dict[bytes, Peer] = {}

    def reload(self) -> None:
        """Forget what is kept in memory, after a rollback."""
        self._known.clear()
        self._by_id.clear()

    def count(self) -> int:
        """Return the number of peers."""
        return self._backend.count(Table.RECORDS)

    def find(self, node_id: bytes) -> Peer | None:
        """Return the peer with this id, or None."""
        peer = self._by_id.get(node_id)
        if peer is not None:
            return peer
        number = self._backend.get(Table.PEERS, node_id)
        return None if number is None else self.get(number)

    def get(self, number: bytes) -> Peer:
        """Return the peer with this number, which exists. Raises StoreError when it does not."""
        peer = self._known.get(number)
        if peer is None:
            value = self._backend.get(Table.RECORDS, number)
            if value is None:
                raise damaged("the record of a provider is missing")
            return self._keep(decode_peer(number, value))
        self._known.move_to_end(number)
        return peer

    def create(self, node_id: bytes, seq: int, encoded: bytes) -> Peer:
        """Store the record of a peer that is not known, under a new number."""
        number = self._backend.get(Table.META, NEXT_NUMBER_ROW) or bytes(NUMBER_SIZE)
        following = int.from_bytes(number, "big") + 1
        if following >= 2**32:
            raise NoRoom("the store has given out all its provider numbers; start with an empty one")
        self._backend.put(Table.META, NEXT_NUMBER_ROW, following.to_bytes(NUMBER_SIZE, "big"))
        self._backend.put(Table.PEERS, node_id, number)
        return self._write(Peer(number, node_id, seq, encoded))

    def replace(self, peer: Peer, seq: int, encoded: bytes) -> Peer:
        """Store a newer record of a known peer."""
        return self._write(Peer(peer.number, peer.node_id, seq, encoded))

    def remove(self, number: bytes) -> None:
        """Forget a peer, if it is known."""
        value = self._backend.get(Table.RECORDS, number)
        if value is not None:
            self._backend.delete(Table.PEERS, value[:_NODE_ID])
            self._backend.delete(Table.RECORDS, number)
            self._known.pop(number, None)
            self._by_id.pop(value[:_NODE_ID], None)

    def _write(self, peer: Peer) -> Peer:
        value = peer.node_id + peer.seq.to_bytes(8, "big") + peer.encoded
        self._backend.put(Table.RECORDS, peer.number, value)
        return self._keep(peer)

    def _keep(self, peer: Peer) -> Peer:
        self._known[peer.number] = peer
        self._by_id[peer.node_id] = peer
        if len(self._known) > self._cache_size:
            _, oldest = self._known.popitem(last=False)
            del self._by_id[oldest.node_id]
        return peer


def decode_peer(number: bytes, value: bytes) -> Peer:
    """Return what a row of RECORDS holds."""
    return Peer(number, value[:_NODE_ID], int.from_bytes(value[_NODE_ID:_SEQ_END], "big"), value[_SEQ_END:])
