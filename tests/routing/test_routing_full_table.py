"""What a routing table does when it, one of its buckets, or a network's share in it is full."""

from __future__ import annotations

from collections import Counter

import pytest

from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.records.networks import network_of
from codexdht.routing.entry import Entry
from codexdht.routing.settings import RoutingSettings
from codexdht.routing.table import RoutingTable

OWN = bytes(32)
FAR = 1 << 255


def record_of(number: int, host: str = "", seq: int = 1) -> SignedPeerRecord:
    address = multiaddress_of_endpoint((host or f"8.{number % 250}.1.1", 9000))
    encoded = b"%064x %d %s" % (number, seq, address)
    return SignedPeerRecord(encoded, b"\x02" * 33, number.to_bytes(32, "big"), seq, (address,))


def without_endpoint(number: int, seq: int) -> SignedPeerRecord:
    return SignedPeerRecord(b"%d %d" % (number, seq), b"\x02" * 33, number.to_bytes(32, "big"), seq, ())


@pytest.fixture
def bucket() -> RoutingTable:
    """A table whose bucket of ids from `FAR` on has one place and two spares; two nodes of a /24 are let in."""
    settings = RoutingSettings(
        bucket_size=1, replacements=2, split_bits=1, table_ip_limit=2, bucket_ip_limit=9
    )
    return RoutingTable(OWN, settings, Counter())


def spares(table: RoutingTable) -> list[int]:
    return [entry.number - FAR for entry in table.bucket_of(FAR.to_bytes(32, "big")).spares]


def saved(number: int, answers: int) -> Entry:
    record = record_of(number)
    entry = Entry(record, number, network_of("8.8.8.8", "off"), 0.0)
    entry.answers = answers
    return entry


def test_in_a_full_table_the_slowest_gives_way_but_not_our_neighbours() -> None:
    """A node that has answered takes the place of the least relevant one, which is not among the k closest to us."""
    table = RoutingTable(OWN, RoutingSettings(bucket_size=4, max_entries=16, ip_limits="off"), Counter())
    rtts = {1: 0.9, 9: 0.5}
    for i in range(1, 17):
        table.answered(record_of((i << 250) + 5), rtts.get(i, 0.1), 1.0)
    newcomer, slower, silent = (record_of((i << 250) + 5) for i in (40, 41, 42))
    table.add(silent, 2.0)
    table.answered(slower, 3.0, 2.0)
    assert len(table) == 16
    assert table.get(silent.node_id) is table.get(slower.node_id) is None
    table.answered(newcomer, 0.2, 2.0)
    assert len(table) == 16
    assert table.get(newcomer.node_id) is not None
    assert [i for i in range(1, 17) if table.get(record_of((i << 250) + 5).node_id) is None] == [9]


def test_in_a_full_table_a_new_neighbour_has_a_place_however_slow() -> None:
    """A node that has answered and is nearer than the last of the k closest to us replaces the least relevant of the
    others, and is then safe itself."""
    table = RoutingTable(OWN, RoutingSettings(bucket_size=4, max_entries=16, ip_limits="off"), Counter())
    for i in range(1, 17):
        table.answered(record_of((i << 250) + 5), 0.1 + i / 1000, 1.0)
    farther, neighbour, faster = (record_of((i << 249) + 9) for i in (9, 7, 40))
    assert table.answered(farther, 3.0, 2.0) is None
    assert table.add(neighbour, 2.0) is None
    assert table.answered(neighbour, 3.0, 2.0) is not None
    assert [i for i in range(1, 17) if table.get(record_of((i << 250) + 5).node_id) is None] == [16]
    assert table.answered(faster, 0.01, 3.0) is not None
    assert table.get(neighbour.node_id) is not None
    assert len(table) == 16


def test_spares_that_never_answered_give_way_to_newer_ones(bucket: RoutingTable) -> None:
    """In a full replacement cache the oldest that has not answered leaves."""
    bucket.answered(record_of(FAR), 0.1, 0.0)
    for number in (1, 2, 3):
        bucket.add(record_of(FAR + number), 0.0)
    assert spares(bucket) == [2, 3]


def test_spares_that_answered_give_way_to_such_alone(bucket: RoutingTable) -> None:
    """Somebody who has not answered yet is refused; a saved node that has takes the oldest one's place."""
    for number in (0, 1, 2):
        bucket.answered(record_of(FAR + number), 0.1, 0.0)
    assert bucket.add(record_of(FAR + 3), 1.0) is None
    assert spares(bucket) == [1, 2]
    assert not bucket.restore(saved(FAR + 4, answers=0))
    assert spares(bucket) == [1, 2]
    assert not bucket.restore(saved(FAR + 5, answers=1))
    assert spares(bucket) == [2, 5]


def test_a_saved_entry_takes_the_place_of_what_was_only_learnt_of(bucket: RoutingTable) -> None:
    """What it tells of the node is kept, with the newer record; a node that has been asked since knows better."""
    for number in (0, 1, 2):
        bucket.add(record_of(FAR + number, seq=2), 0.0)
    assert spares(bucket) == [1, 2]
    assert not bucket.restore(saved(FAR, answers=0))
    assert bucket.restore(saved(FAR + 2, answers=3))
    entry = bucket.get(record_of(FAR + 2).node_id)
    assert entry is not None
    assert (entry.answers, entry.record) == (3, record_of(FAR + 2, seq=2))
    assert not bucket.restore(saved(FAR + 2, answers=4))
    assert not bucket.restore(saved(FAR + 1, answers=3))
    assert spares(bucket) == [0, 1]


def test_removed_spares_leave_their_share_of_the_network(bucket: RoutingTable) -> None:
    """A spare can be removed like any other node, once, and another one of its /24 has room then."""
    bucket.answered(record_of(FAR), 0.1, 0.0)
    for number in (1, 2):
        bucket.add(record_of(FAR + number, "9.9.9.9"), 0.0)
    third = record_of(FAR + 3, "9.9.9.10")
    bucket.add(third, 0.0)
    assert spares(bucket) == [1, 2]
    assert bucket.remove(record_of(FAR + 1).node_id)
    assert not bucket.remove(record_of(FAR + 1).node_id)
    bucket.add(third, 0.0)
    assert spares(bucket) == [2, 3]


def test_made_up_records_take_no_share_of_a_network_from_nodes_that_answer() -> None:
    """Where the limits, of the table or of a bucket, refuse a node that has answered, one of its network that never has
    leaves, entry or spare, wherever it is; those that have answered stay."""
    settings = RoutingSettings(bucket_size=3, replacements=2, split_bits=2, table_ip_limit=6)
    table = RoutingTable(OWN, settings, Counter())
    regions = [i << 254 for i in range(4)]
    for at, others in zip(regions, (2, 2, 3, 3), strict=True):
        for i in range(1, others + 1):
            table.answered(record_of(at + i), 0.1, 0.0)
    for at in regions[1:]:
        for i in (5, 6):
            table.add(record_of(at + i, f"9.9.9.{i}"), 1.0)
    assert len(table) == 11
    assert sum(len(bucket.spares) for bucket in table.buckets) == 5
    honest = [record_of(regions[n] + i, f"9.9.9.{i}") for n in (3, 0, 1, 2) for i in (7, 8)]
    for record in honest:
        table.answered(record, 0.1, 2.0)
    members = [e for bucket in table.buckets for e in bucket.members() if e.network == "9.9.9.0/24"]
    assert {e.number for e in members} == {record.number for record in honest[:6]}
    assert all(e.answers for e in members)


def test_a_spare_comes_in_with_its_newest_record(bucket: RoutingTable) -> None:
    """What was learnt of it meanwhile is not lost; an older record changes nothing."""
    bucket.answered(record_of(FAR), 0.1, 0.0)
    newest = record_of(FAR + 1, "8.8.4.4", seq=5)
    for record in (record_of(FAR + 1), newest, record_of(FAR + 1, seq=4)):
        assert bucket.add(record, 0.0) is None
    bucket.remove(record_of(FAR).node_id)
    entry = bucket.get(newest.node_id)
    assert entry is not None
    assert entry.record == newest


def test_our_own_id_and_nodes_without_an_endpoint_have_no_place(bucket: RoutingTable) -> None:
    """They are not learnt of, and a known node stays as it was known when a newer record has no endpoint."""
    assert bucket.add(record_of(0), 0.0) is None
    assert not bucket.restore(saved(0, answers=3))
    assert bucket.add(without_endpoint(FAR, 1), 0.0) is None
    assert len(bucket) == 0
    bucket.answered(record_of(FAR), 0.1, 0.0)
    bucket.add(without_endpoint(FAR, 2), 0.0)
    assert bucket.closest(OWN, 1)[0].record == record_of(FAR)


def test_a_node_that_moves_is_not_handed_on_until_it_answers_there(bucket: RoutingTable) -> None:
    """The place is its own, but a record of a new address may be a lie about somebody else's."""
    bucket.answered(record_of(FAR), 0.1, 0.0)
    assert len(bucket.closest(OWN, 1)) == 1
    moved = record_of(FAR, "8.8.4.4", seq=2)
    bucket.add(moved, 1.0)
    assert bucket.closest(OWN, 1) == []
    bucket.answered(moved, 0.1, 2.0)
    assert [entry.record for entry in bucket.closest(OWN, 1)] == [moved]


def test_a_node_that_moves_into_a_full_network_stays_where_it_was(bucket: RoutingTable) -> None:
    """The limits per network hold for moves, too."""
    bucket.answered(record_of(FAR), 0.1, 0.0)
    for number in (1, 2):
        bucket.add(record_of(FAR + number, "9.9.9.9"), 0.0)
    bucket.add(record_of(FAR, "9.9.9.9", seq=2), 1.0)
    assert [entry.record for entry in bucket.closest(OWN, 1)] == [record_of(FAR)]
