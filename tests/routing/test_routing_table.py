"""The table against a naive model, and its rules one by one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.records import SignedPeerRecord, multiaddress_of_endpoint
from codexdht.routing.entry import NEVER, Entry
from codexdht.routing.settings import RoutingSettings
from codexdht.routing.table import RoutingTable

OWN = bytes(32)
ROOMY = RoutingSettings(bucket_size=256, ip_limits="off", max_entries=100_000)


def record_of(number: int, host: str = "", seq: int = 1, port: int = 9000) -> SignedPeerRecord:
    host = host or f"{1 + number % 99}.{number // 99 % 250}.{number // 24750 % 250}.1"
    address = multiaddress_of_endpoint((host, port))
    encoded = b"%064x %d %s" % (number, seq, address)
    return SignedPeerRecord(encoded, b"\x02" * 33, number.to_bytes(32, "big"), seq, (address,))


def table_of(settings: RoutingSettings | None = None, own: bytes = OWN) -> RoutingTable:
    return RoutingTable(own, settings or RoutingSettings(), Counter())


def check(table: RoutingTable, settings: RoutingSettings, own: int = 0) -> None:
    """Assert what the table promises about itself."""
    seen: list[int] = []
    networks: Counter[str] = Counter()
    for bucket in table.buckets:
        assert len(bucket.entries) <= settings.bucket_size
        assert len(bucket.spares) <= settings.replacements
        here = Counter(e.network for e in bucket.members() if e.network is not None)
        assert all(count <= settings.bucket_ip_limit for count in here.values())
        networks += here
        for entry in bucket.members():
            assert (entry.number ^ bucket.prefix) >> (256 - bucket.depth) == 0
            assert entry.number != own
            assert entry.record.endpoint is not None
        seen += [e.number for e in bucket.members()]
        relayed = [e.number for e in bucket.entries if e.answers and not e.failures]
        assert bucket.relayed() == relayed
    assert len(seen) == len(set(seen))
    assert all(count <= settings.table_ip_limit for count in networks.values())
    assert sum(len(bucket.entries) for bucket in table.buckets) == len(table) <= table.peak
    assert len(table) <= settings.max_entries
    starts = [bucket.prefix for bucket in table.buckets]
    assert starts == sorted(starts)
    assert sum(1 << (256 - bucket.depth) for bucket in table.buckets) == 1 << 256


numbers = st.one_of(
    st.integers(1, 400), st.integers(1, 2**256 - 1), st.integers(1, 60).map(lambda n: n << 248)
)


@given(st.sets(numbers, max_size=80), st.integers(0, 2**256 - 1), st.integers(1, 20))
def test_closest_is_what_sorting_gives(ids: set[int], target: int, count: int) -> None:
    """With room for all, `closest` and `nearest` return what sorting all nodes by distance returns."""
    table = table_of(ROOMY)
    for number in sorted(ids):
        table.answered(record_of(number), 0.1, 1.0)
    expected = sorted(ids, key=lambda number: number ^ target)[:count]
    wanted = target.to_bytes(32, "big")
    assert [e.number for e in table.closest(wanted, count)] == expected
    assert [e.number for e in table.nearest(wanted, count)] == expected


moves = st.tuples(
    st.sampled_from(["add", "answered", "failed", "remove", "move"]), st.integers(1, 50), st.integers(0, 6)
)


@given(st.lists(moves, max_size=150), st.sampled_from(["public", "all", "off"]))
def test_invariants_hold_whatever_happens(steps: list[tuple[str, int, int]], limits: str) -> None:
    """Any sequence of additions, answers, failures, removals and moves leaves a table within all its limits."""
    settings = RoutingSettings(bucket_size=3, replacements=2, split_bits=2, max_entries=16, ip_limits=limits)
    table = table_of(settings)
    for now, (what, n, network) in enumerate(steps):
        number = n * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 % 2**256
        record = record_of(number, f"8.8.{network}.{n}", seq=now if what == "move" else 0)
        if what in ("add", "move"):
            table.add(record, float(now))
        elif what == "answered":
            table.answered(record, 0.01 * n, float(now))
        elif what == "failed":
            table.failed(record.node_id)
        else:
            table.remove(record.node_id)
        check_limits = (
            settings
            if limits != "off"
            else RoutingSettings(
                bucket_size=3, replacements=2, max_entries=16, bucket_ip_limit=99, table_ip_limit=99
            )
        )
        check(table, check_limits)


def test_only_nodes_that_answered_and_are_not_failing_are_relayed() -> None:
    """A node is handed on from its first answer to its next failure, and again from its next answer."""
    table = table_of()
    record = record_of(1 << 255)
    table.add(record, 0.0)
    assert table.closest(OWN, 1) == []
    table.answered(record, 0.1, 1.0)
    assert [e.record for e in table.closest(OWN, 1)] == [record]
    assert [e.record for e in table.at_distances([256])[256]] == [record]
    table.failed(record.node_id)
    assert table.closest(OWN, 1) == table.at_distances([256])[256] == []
    table.answered(record, 0.1, 2.0)
    assert len(table.closest(OWN, 1)) == 1


def test_buckets_split_by_b_bits_everywhere_and_on_towards_our_own_id() -> None:
    """Far from us a bucket splits down to b bits, and holds k nodes there; around our own id it goes on splitting."""
    settings = RoutingSettings(bucket_size=2, split_bits=3, ip_limits="off", replacements=0)
    table = table_of(settings)
    for i in range(64):
        table.add(record_of((i << 250) + 5), 0.0)
    depths = {bucket.depth for bucket in table.buckets if bucket.prefix >= 1 << 253}
    assert depths == {3}
    assert max(bucket.depth for bucket in table.buckets) > 3
    check(table, RoutingSettings(bucket_size=2, replacements=0, bucket_ip_limit=99, table_ip_limit=99))


def test_limits_per_network() -> None:
    """Two nodes of a /24 in a bucket, ten in the table; private and loopback addresses are exempt."""
    table = table_of()
    for i in range(1, 32):
        for j in range(17):
            table.add(record_of((i << 251) + j, "127.0.0.1", port=1000 + j), 0.0)
    split = len(table.buckets)
    before = len(table)
    assert (split, before) == (32, 31 * 16)
    settings = RoutingSettings(bucket_size=32, max_entries=4096)
    table = table_of(settings)
    for i in range(1, 32):
        for j in range(12):
            table.add(record_of((i << 251) + j, f"10.0.{i}.{j}"), 0.0)
    for i in range(1, 32):
        for j in range(3):
            table.add(record_of((i << 251) + 100 + j, f"8.8.8.{3 * i + j}"), 1.0)
    networks = Counter(e.network for e in table)
    assert networks == {None: 31 * 12, "8.8.8.0/24": 10}
    assert max(sum(e.network is not None for e in bucket.entries) for bucket in table.buckets) == 2


def test_limits_count_ipv6_by_64() -> None:
    """Nodes of one IPv6 /64 count together, those of another do not."""
    table = table_of()
    for i in range(1, 5):
        table.add(record_of(i, f"2a00:1:2:3::{i}"), 0.0)
    assert len(table) == 2
    table.add(record_of(9, "2a00:1:2:4::1"), 0.0)
    assert len(table) == 3


def test_a_seen_node_takes_the_place_of_an_unseen_one() -> None:
    """In a full bucket a node that has answered goes before one that never has, which becomes its replacement."""
    settings = RoutingSettings(bucket_size=2, split_bits=1, ip_limits="off")
    table = table_of(settings)
    far = 1 << 255
    first, second, third = (record_of(far + i) for i in (1, 2, 3))
    table.answered(first, 0.1, 0.0)
    table.add(second, 0.0)
    table.add(third, 0.0)
    assert table.get(third.node_id) is None
    assert table.answered(third, 0.1, 1.0) is not None
    assert table.get(second.node_id) is None
    assert table.get(first.node_id) is not None
    assert [e.record for e in table.bucket_of(first.node_id).spares] == [second]


def test_replaced_after_three_failures_in_a_row() -> None:
    """With a replacement waiting, a node goes at its third failure in a row, and the replacement comes in."""
    settings = RoutingSettings(bucket_size=1, split_bits=1, ip_limits="off")
    table = table_of(settings)
    old, new = record_of((1 << 255) + 1), record_of((1 << 255) + 2)
    table.answered(old, 0.1, 0.0)
    table.add(record_of(3), 0.0)
    table.add(new, 0.0)
    assert table.failed(old.node_id) is not None
    assert table.failed(old.node_id) is not None
    assert table.failed(old.node_id) is None
    assert table.get(new.node_id) is not None


def test_dropped_when_unreliable_also_without_replacement() -> None:
    """Without a replacement a node stays until its reliability is under one half."""
    table = table_of()
    record = record_of(1 << 255)
    table.answered(record, 0.1, 0.0)
    failures = 1
    while table.failed(record.node_id) is not None:
        failures += 1
    assert failures == 7
    assert len(table) == 0


def test_newer_record_replaces_older_and_a_new_address_must_prove_itself() -> None:
    """The highest seq is kept; a node whose endpoint changed is not relayed before it has answered there."""
    table = table_of()
    node = record_of(7, "5.5.5.5", seq=5)
    table.answered(node, 0.1, 0.0)
    table.add(record_of(7, "5.5.5.5", seq=4), 1.0)
    assert table.get(node.node_id).record is node
    moved = record_of(7, "5.5.6.5", seq=6)
    table.add(moved, 2.0)
    assert table.get(node.node_id).record is moved
    assert table.closest(OWN, 1) == []
    table.answered(moved, 0.1, 3.0)
    assert len(table.closest(OWN, 1)) == 1


def test_an_answer_from_an_old_address_vouches_for_no_new_one() -> None:
    """Neither in the bucket nor among the replacements."""
    table = table_of(RoutingSettings(bucket_size=1, split_bits=1, ip_limits="off"))
    far = 1 << 255
    for number in (far + 1, far + 2):
        old, moved = record_of(number, "5.5.5.5", seq=1), record_of(number, "5.5.6.5", seq=2)
        table.add(old, 0.0)
        table.add(moved, 0.0)
        table.answered(old, 0.1, 1.0)
        assert table.closest(OWN, 1) == []
    assert table.get(moved.node_id) is None
    assert [e.answers for e in table.bucket_of(moved.node_id).members()] == [0, 0]


def test_a_full_table_keeps_the_relevant() -> None:
    """At the bound a slow node gives way to a fast one, never one of our k closest, and an unseen one gets no place."""
    settings = RoutingSettings(bucket_size=4, max_entries=16, ip_limits="off")
    table = table_of(settings)
    for i in range(1, 17):
        table.answered(record_of(i if i <= 4 else i << 250), 0.9 if i <= 4 else 0.5 + i / 100, 0.0)
    assert len(table) == 16
    table.add(record_of(40 << 250), 1.0)
    assert table.get(record_of(40 << 250).node_id) is None
    table.answered(record_of(41 << 250), 0.1, 1.0)
    assert table.get(record_of(41 << 250).node_id) is not None
    assert table.get(record_of(16 << 250).node_id) is None
    assert all(table.get(record_of(i).node_id) is not None for i in range(1, 5))
    check(table, RoutingSettings(bucket_size=4, max_entries=16, bucket_ip_limit=99, table_ip_limit=99))


def test_our_own_record_and_records_without_endpoint_have_no_place() -> None:
    """Neither ourselves nor a node that cannot be reached by UDP enters."""
    table = table_of()
    assert table.add(record_of(0), 0.0) is None
    no_udp = SignedPeerRecord(b"x", b"\x02" * 33, b"\x01" * 32, 1, ())
    assert table.add(no_udp, 0.0) is None
    assert len(table) == 0


def test_timing_and_reliability_of_an_entry() -> None:
    """Round trips are smoothed as TCP does it, the shortest is kept, reliability is unset until the first answer."""
    entry = Entry(record_of(1), 1, None, 10.0)
    assert (entry.reliability, entry.last_seen) == (None, NEVER)
    entry.failed()
    assert entry.reliability is None
    entry.answered(0.1, 11.0)
    assert (entry.rtt, entry.rtt_var, entry.reliability, entry.failures) == (0.1, 0.05, 1.0, 0)
    entry.answered(0.2, 12.0)
    assert entry.rtt == pytest.approx(0.1125)
    assert entry.rtt_var == pytest.approx(0.0625)
    assert entry.rtt_min == 0.1
    entry.failed()
    assert entry.reliability == pytest.approx(0.9)
    assert (entry.answers, entry.failures, entry.last_seen) == (2, 1, 12.0)
