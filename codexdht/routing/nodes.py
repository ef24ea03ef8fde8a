"""What of a NODES answer may be believed (wire.md section 5, "Rules of conduct")."""

from __future__ import annotations

from collections import Counter

from codexdht.errors import DecodeError
from codexdht.identity import log_distance
from codexdht.messages.discv5 import Kind
from codexdht.records import RecordCache, SignedPeerRecord, endpoint_of
from codexdht.records.networks import Scope, scope_of

MAX_PACKETS = 16
_MAX_RECORDS = 16
_MAX_RECORDS_FAST = 6


class NodesAnswer:
    """The checks on one answer, which may come in several packets.

    kind and distances are what was asked (distances are empty for FIND_NODE_FAST), sender the record of the node
    asked. Every record that is left out is counted under its reason, `nodes_…`.
    """

    __slots__ = ("_distances", "_left", "_seen", "_sender")

    def __init__(self, kind: int, distances: tuple[int, ...], sender: SignedPeerRecord) -> None:
        self._left = _MAX_RECORDS_FAST if kind == Kind.FIND_NODE_FAST else _MAX_RECORDS
        self._distances = distances
        self._sender = sender
        self._seen: set[bytes] = set()

    def take(self, data: list[bytes], cache: RecordCache, counters: Counter[str]) -> list[SignedPeerRecord]:
        """Return the usable records of a packet. No more signatures are checked than records may come."""
        if len(data) > self._left:
            counters["nodes_too_many"] += len(data) - self._left
        data, self._left = data[: self._left], self._left - len(data[: self._left])
        usable: list[SignedPeerRecord] = []
        for encoded in data:
            try:
                record = cache.decode(encoded)
            except DecodeError as error:
                counters["nodes_" + str(error).replace(" ", "_")] += 1
                continue
            reason = self._objection(record)
            if reason:
                counters["nodes_" + reason] += 1
            else:
                usable.append(record)
        return usable

    def _objection(self, record: SignedPeerRecord) -> str:
        """Return why a record is not believed, or nothing."""
        node_id = record.node_id
        if node_id in self._seen:
            return "duplicate"
        self._seen.add(node_id)
        sender = self._sender.node_id
        if node_id == sender and 0 not in self._distances:
            return "own_record"
        if self._distances and log_distance(node_id, sender) not in self._distances:
            return "wrong_distance"
        if record.endpoint is None:
            return _missing_endpoint(record)
        sender_at = self._sender.endpoint
        return scope_objection(record.endpoint[0], sender_at[0]) if sender_at is not None else ""


def scope_objection(host: str, sender: str) -> str:
    """Return why an address is not believed that a peer at another one tells of, or nothing: a public peer would have
    us send packets into our own network."""
    scope = scope_of(host)
    if scope is Scope.PUBLIC:
        return ""
    of_sender = scope_of(sender)
    if scope is Scope.LOOPBACK and of_sender is not Scope.LOOPBACK:
        return "loopback_address"
    return "private_address" if scope is Scope.PRIVATE and of_sender is Scope.PUBLIC else ""


def _missing_endpoint(record: SignedPeerRecord) -> str:
    """Say what keeps the first IP address with a UDP port from being an endpoint. A node that only others can send to,
    as it has no address of our IP versions, is nothing to object to: that it is there tells a lookup something."""
    if any(map(endpoint_of, record.addresses)):
        return ""
    for address in record.addresses:
        host, port = _ip_and_udp(address)
        if not port:
            continue
        if port == b"\0\0":
            return "port_zero"
        return "multicast_address" if any(host) else "unspecified_address"
    return "no_udp_address"


def _ip_and_udp(address: bytes) -> tuple[bytes, bytes]:
    """Return host and port of a binary /ip4|ip6/…/udp/…, empty ones for any other address."""
    size = {0x04: 4, 0x29: 16}.get(address[0], 0)
    if not size or address[size + 1 : size + 3] != b"\x91\x02":
        return b"", b""
    return address[1 : size + 1], address[size + 3 : size + 5]
