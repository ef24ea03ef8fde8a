"""Answering peers: FIND_NODE and FIND_NODE_FAST."""

from __future__ import annotations

from typing import Final

from codexdht.errors import DecodeError
from codexdht.identity import MAX_DISTANCE
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, PeerReply, PeerRequest
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core

_WIRE: Final = Actor.WIRE
_NODES: Final = Kind.NODES
_FIND_NODE: Final = Kind.FIND_NODE
_FIND_NODE_FAST: Final = Kind.FIND_NODE_FAST
_MAX_RECORDS = 16
_MAX_RECORDS_FAST = 6
_MAX_PACKETS = 16


class Serving:
    """The server side. Only nodes that have answered us are handed on, and a node is not told of itself."""

    __slots__ = ("_contacts", "_entropy", "_local", "_outbox")

    def __init__(self, core: Core, contacts: Contacts) -> None:
        self._contacts = contacts
        self._local = core.local
        self._outbox = core.outbox
        self._entropy = core.entropy

    def serve(self, request: PeerRequest) -> None:
        """Answer a peer's request; one that does not decode is counted and gets no answer."""
        if request.client_mode:
            self._contacts.forget_client(request.node_id)
        try:
            if request.kind == _FIND_NODE_FAST:
                records = self._closest(discv5.decode_find_node_fast(request.body), request.node_id)
            elif request.kind == _FIND_NODE:
                records = self._at_distances(discv5.decode_find_node(request.body), request.node_id)
            else:
                self._contacts.counters["peer_requests_unknown"] += 1
                return
        except DecodeError:
            self._contacts.counters["peer_requests_undecodable"] += 1
            return
        bodies = discv5.split_records(records, _MAX_PACKETS)
        self._outbox.send(
            _WIRE,
            PeerReply(request.node_id, request.host, request.port, request.request_id, _NODES, bodies),
        )

    def _closest(self, target: bytes, asker: bytes) -> list[bytes]:
        found = self._contacts.table.closest(target, _MAX_RECORDS_FAST + 1)
        records = [entry.record.encoded for entry in found if entry.record.node_id != asker]
        return records[:_MAX_RECORDS_FAST]

    def _at_distances(self, distances: list[int], asker: bytes) -> list[bytes]:
        if 0 in distances:
            return [self._local.record.encoded] if self._local.record is not None else []
        if any(distance > MAX_DISTANCE for distance in distances):
            return []
        records: list[bytes] = []
        for entries in self._contacts.table.at_distances(distances).values():
            others = [entry for entry in entries if entry.node_id != asker]
            self._entropy.shuffle(others)
            records += [entry.record.encoded for entry in others[: _MAX_RECORDS - len(records)]]
        return records
