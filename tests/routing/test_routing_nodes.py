"""What of a NODES answer is believed: one test for each way in which it can be wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from codexdht.identity import log_distance
from codexdht.messages.discv5 import Kind
from codexdht.records import (
    ALL_VERSIONS,
    IpVersions,
    RecordCache,
    SignedPeerRecord,
    multiaddress_of_endpoint,
    sign_record,
)
from codexdht.routing.nodes import NodesAnswer


class Check:
    """One answer under check, to FIND_NODE_FAST unless distances are given."""

    def __init__(
        self, sender: SignedPeerRecord, *distances: int, versions: IpVersions = ALL_VERSIONS
    ) -> None:
        kind = Kind.FIND_NODE if distances else Kind.FIND_NODE_FAST
        self.answer = NodesAnswer(kind, distances, sender)
        self.cache = RecordCache(1000, versions)
        self.counters: Counter[str] = Counter()

    def take(self, *records: SignedPeerRecord | bytes) -> list[SignedPeerRecord]:
        data = [r if isinstance(r, bytes) else r.encoded for r in records]
        return self.answer.take(data, self.cache, self.counters)


def test_good_records_pass(signer: Any) -> None:
    """Records of other nodes with public addresses are all taken, in order."""
    check = Check(signer.record())
    records = [signer.record() for _ in range(6)]
    assert check.take(*records) == records
    assert not check.counters


def test_wrong_distances(signer: Any) -> None:
    """Only records at a distance that was asked for are taken."""
    sender = signer.record()
    records = [signer.record() for _ in range(16)]
    near = [r for r in records if log_distance(r.node_id, sender.node_id) == 256]
    check = Check(sender, 256)
    assert check.take(*records) == near
    assert check.counters == {"nodes_wrong_distance": 16 - len(near)}


def test_duplicates(signer: Any) -> None:
    """A node is taken once, also across packets."""
    check = Check(signer.record())
    record = signer.record()
    assert check.take(record, record) == [record]
    assert check.take(record) == []
    assert check.counters == {"nodes_duplicate": 2}


def test_foreign_and_broken_records(signer: Any) -> None:
    """A record that does not decode, or is not signed by its own key, spoils none of its neighbours."""
    check = Check(signer.record())
    good = signer.record()
    bad = bytearray(signer.record().encoded)
    bad[-1] ^= 1
    assert check.take(b"", bytes(bad), b"\xff" * 50, good) == [good]
    assert check.counters.total() == 3
    assert all(name.startswith("nodes_bad") for name in check.counters)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (b"\x04\0\0\0\0\x91\x02\x1f\x90", "unspecified_address"),
        (b"\x29" + bytes(16) + b"\x91\x02\x1f\x90", "unspecified_address"),
        (b"\x04\xe0\0\0\x01\x91\x02\x1f\x90", "multicast_address"),
        (b"\x29\xff" + bytes(15) + b"\x91\x02\x1f\x90", "multicast_address"),
        (b"\x04\x05\x06\x07\x08\x91\x02\0\0", "port_zero"),
        (b"\x04\x05\x06\x07\x08\x06\x1f\x90", "no_udp_address"),
    ],
)
def test_addresses_that_are_no_endpoints(signer: Any, address: bytes, reason: str) -> None:
    """Unspecified, multicast, port 0, and no UDP at all: each has its counter."""
    check = Check(signer.record())
    assert check.take(sign_record(signer.key(), 1, [address])) == []
    assert check.counters == {"nodes_" + reason: 1}


@pytest.mark.parametrize(
    ("sender", "record", "reason"),
    [
        ("5.5.5.5", "127.0.0.1", "loopback_address"),
        ("10.0.0.1", "127.0.0.1", "loopback_address"),
        ("5.5.5.5", "192.168.1.1", "private_address"),
        ("2a00::1", "fd00::1", "private_address"),
        ("5.5.5.5", "fe80::1", "private_address"),
        ("10.0.0.1", "192.168.1.1", ""),
        ("127.0.0.1", "127.0.0.1", ""),
        ("127.0.0.1", "10.0.0.1", ""),
        ("10.0.0.1", "8.8.8.8", ""),
    ],
)
def test_scope_of_addresses(signer: Any, sender: str, record: str, reason: str) -> None:
    """A sender may tell of addresses of its own scope or a wider one."""
    check = Check(signer.record(sender))
    taken = check.take(signer.record(record))
    assert len(taken) == (0 if reason else 1)
    assert check.counters == ({"nodes_" + reason: 1} if reason else {})


def test_the_asked_nodes_own_record(signer: Any) -> None:
    """A node's own record is taken only where it was asked for, by distance 0."""
    sender = signer.record()
    for check in (Check(sender), Check(sender, 255, 256)):
        assert check.take(sender) == []
        assert check.counters == {"nodes_own_record": 1}
    check = Check(sender, 0)
    assert check.take(sender, signer.record()) == [sender]
    assert check.counters == {"nodes_wrong_distance": 1}


@pytest.mark.parametrize(("distances", "limit"), [((), 6), ((254, 255, 256), 16)])
def test_a_thousand_records_in_one_packet(signer: Any, distances: tuple[int, ...], limit: int) -> None:
    """No more records are looked at, let alone verified, than an answer may hold."""
    check = Check(signer.record(), *distances)
    records = [signer.record().encoded for _ in range(20)] * 50
    assert len(check.take(*records)) <= limit
    assert check.cache.checks <= limit
    assert check.counters["nodes_too_many"] == 1000 - limit
    assert check.take(*records) == []


def test_nodes_of_another_ip_version_are_no_fault(signer: Any) -> None:
    """They are taken, as what a lookup knows of its surroundings, but have no endpoint to send to."""
    check = Check(signer.record("2a00::1"), versions=frozenset((6,)))
    records = [signer.record("5.6.7.8"), signer.record("2a00::2")]
    taken = check.take(*records)
    assert taken == records
    assert [record.endpoint for record in taken] == [None, records[1].endpoint]
    assert not check.counters


def test_several_addresses_count_by_the_first_endpoint(signer: Any) -> None:
    """A TCP address before the UDP one does no harm."""
    check = Check(signer.record())
    addresses = [b"\x04\x05\x06\x07\x08\x06\x1f\x90", multiaddress_of_endpoint(("5.6.7.8", 9))]
    assert len(check.take(sign_record(signer.key(), 1, addresses))) == 1
