"""Who gets in: seqs, policies, limits (behaviour.md, section "Provider store")."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexdht.messages.internal import Done, Failed
from codexdht.store.layout import Entry
from codexdht.store.rules import Order, View, Views, compare_seq, is_replaceable
from codexdht.store.sources import NO_SOURCE, Sources

HOUR = 3600
seqs = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("limit", "keys"),
    [
        ("max_per_source_and_key", [1, 1, 1, 1]),
        ("max_per_source", [1, 2, 3, 4]),
        ("max_records", [1, 2, 3, 4]),
    ],
)
def test_expired_records_hold_no_place(make_store: Any, limit: str, keys: list[int]) -> None:
    """A newcomer is not refused for the sake of records that nobody sees any more, deleted or not. Each that is deleted
    for it is a change that takes memory until it is on disk."""
    store = make_store(lifetime=100, **{limit: 3})
    for peer, key in enumerate(keys):
        store.add(key, peer, settle=False)
    assert store.count("providers_added") == 3
    store.now += 100
    for peer in (0, 4):
        store.add(keys[3], peer, settle=False)
    assert store.machine._batch.unsaved == 3 + 3 + 2
    assert sum(store.count(name) for name in store.machine.counters if name.startswith("refused")) == 1
    assert sorted(store.get(keys[3])) == [(0, 1), (4, 1)]
    store.wait(1)
    assert store.rows() == store.gauge("providers") == 2


@given(seq=seqs, held=seqs, latest=seqs)
def test_seq_order(seq: int, held: int, latest: int) -> None:
    """The higher seq wins; one ahead of the clock loses against any that is not; equal ones are the same."""
    order = compare_seq(seq, held, latest)
    assert (order is Order.SAME) == (seq == held)
    if seq != held and max(seq, held) <= latest:
        assert (order is Order.NEWER) == (seq > held)
    if seq <= latest < held:
        assert order is Order.NEWER
    if held <= latest < seq:
        assert order is Order.OLDER


def test_lower_seq_never_replaces_a_higher(make_store: Any) -> None:
    """Neither under the same key nor under another, where the newer record is what is found."""
    store = make_store()
    store.add(1, peer=0, seq=5)
    store.add(1, peer=0, seq=4)
    store.add(2, peer=0, seq=3)
    assert store.get(1) == store.get(2) == [(0, 5)]
    assert store.count("refused_stale_seq") == 1


def test_higher_seq_replaces_under_every_key(make_store: Any) -> None:
    """A peer's record is kept once: a newer one is found under all its keys at once, encoded answers included."""
    store = make_store()
    for key in range(3):
        store.add(key, peer=0, seq=5)
        assert store.get(key) == [(0, 5)]
    store.add(0, peer=0, seq=6)
    assert [store.get(key) for key in range(3)] == [[(0, 6)]] * 3
    assert store.gauge("providers") == 1


def test_newer_record_of_a_refused_announcement_is_kept(make_store: Any) -> None:
    """A peer that is refused under one key has its newer record under the others, and that is committed, too."""
    store = make_store(max_per_key=1)
    store.add(1, peer=0)
    store.add(2, peer=1, seq=1)
    store.wait(0.1)
    store.add(1, peer=1, seq=2)
    assert store.count("refused_key_full") == 1
    store.wait(0.1)
    store.crash()
    store.start()
    assert store.get(2) == [(1, 2)]


def test_seq_far_ahead_does_not_lock_its_owner_out(make_store: Any) -> None:
    """A record with seq 2^64-1 is replaced by an ordinary one, and does not replace one."""
    store = make_store()
    store.add(1, peer=0, seq=2**64 - 1)
    assert store.get(1) == [(0, 2**64 - 1)]
    store.add(1, peer=0, seq=int(store.unix))
    store.add(1, peer=0, seq=2**64 - 1)
    store.add(1, peer=0, seq=int(store.unix) + 25 * HOUR)
    assert store.get(1) == [(0, int(store.unix))]
    store.add(1, peer=0, seq=int(store.unix) + 23 * HOUR)
    assert store.get(1) == [(0, int(store.unix) + 23 * HOUR)]


def test_equal_seq_refreshes(make_store: Any) -> None:
    """An announcement of the same record starts its lifetime again; a stale one does not."""
    store = make_store(lifetime=100)
    store.add(1, peer=0, seq=2)
    store.add(1, peer=1, seq=2)
    store.wait(60)
    store.add(1, peer=0, seq=2)
    store.add(1, peer=1, seq=1)
    store.wait(60)
    assert store.get(1) == [(0, 2)]


def test_same_record_many_times(make_store: Any) -> None:
    """The same announcement a thousand times a second is one write and one signature check."""
    store = make_store()
    for _ in range(1000):
        store.add(1, peer=0, settle=False)
    store.settle()
    assert store.count("providers_added") == 1
    assert store.count("providers_unchanged") == 999
    assert store.stats()["counters"]["signature_checks"] == 1


def test_policy_own(make_store: Any) -> None:
    """A peer may announce itself only."""
    store = make_store()
    store.add_record(store.key(1), store.record(0).encoded, sender=store.record(1).node_id)
    assert store.get(1) == []
    assert store.count("refused_record_of_another") == 1


def test_policy_any(make_store: Any) -> None:
    """Records handed on by others are taken, and their signatures checked all the same."""
    store = make_store(provider_policy="any")
    sender = store.record(1).node_id
    store.add_record(store.key(1), store.record(0).encoded, sender)
    store.add_record(store.key(1), store.record(2).encoded[:-1] + b"\0", sender)
    assert store.get(1) == [(0, 1)]
    assert store.count("refused_bad_record_signature") == 1


def test_limit_per_key(make_store: Any) -> None:
    """A full key refuses newcomers as long as all its providers announce themselves on time."""
    store = make_store(max_per_key=3, lifetime=100)
    for peer in range(3):
        store.add(1, peer, host=f"1.2.{peer}.4")
    store.wait(49)
    store.add(1, peer=3)
    assert sorted(p for p, _ in store.get(1)) == [0, 1, 2]
    assert store.count("refused_key_full") == 1


def test_full_key_gives_up_who_is_near_its_end(make_store: Any) -> None:
    """Past half its lifetime the provider that expires first makes room; a flood of fresh ids takes no other place."""
    store = make_store(max_per_key=3, lifetime=100)
    store.add(1, peer=0)
    store.wait(30)
    store.add(1, peer=1, host="1.2.1.1")
    store.add(1, peer=2, host="1.2.2.1")
    store.wait(21)
    for peer in range(3, 40):
        store.add(1, peer, host=f"9.9.{peer}.1")
    assert sorted(p for p, _ in store.get(1)) == [1, 2, 3]
    assert store.count("refused_key_full") == 36


@pytest.mark.parametrize("network", ["7.7.7.{}", "2a00:1450:0:7::{}"])
def test_limit_per_source_and_key(make_store: Any, network: str) -> None:
    """One /24 or /64 fills 8 places of a key, whatever ids it makes up; another key has its own 8."""
    store = make_store()
    for peer in range(10):
        store.add(1, peer, host=network.format(peer + 1))
        store.add(2, peer, host=network.format(peer + 1))
    assert len(store.get(1)) == len(store.get(2)) == 8
    assert store.count("refused_source_key_full") == 4
    store.add(1, peer=20, host="7.7.8.1")
    assert len(store.get(1)) == 9


def test_limit_per_source(make_store: Any) -> None:
    """One network has so many records in all; removed and expired ones make room."""
    store = make_store(max_per_source=5, lifetime=100)
    for key in range(7):
        store.add(key, peer=0, host="7.7.7.1")
    assert store.count("refused_source_full") == 2
    store.remove(0)
    store.settle()
    store.wait(50)
    for key in range(7):
        store.add(key, peer=1, host="7.7.7.2")
    assert store.gauge("records") == 5
    store.wait(100)
    assert store.gauge("source_networks") == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1"])
def test_private_sources_are_exempt(make_store: Any, host: str) -> None:
    """A test network sits behind one such address."""
    store = make_store()
    for peer in range(20):
        store.add(1, peer, host=host)
    assert len(store.local(1)) == 20


def test_source_networks() -> None:
    """A /24 of IPv4 and a /64 of IPv6; which sources count is a setting."""
    assert Sources("public").of("1.2.3.4") == Sources("public").of("1.2.3.99") == b"\1\2\3"
    assert Sources("public").of("2a00:1450::1") == bytes.fromhex("2a00145000000000")
    assert Sources("public").of("10.0.0.1") == NO_SOURCE
    assert Sources("all").of("10.0.0.1") == b"\x0a\0\0"
    assert Sources("off").of("1.2.3.4") == NO_SOURCE
    assert Sources("all").of("::ffff:1.2.3.4") == b"\1\2\3"


def test_limit_in_all(make_store: Any) -> None:
    """At the limit newcomers are refused, users are told, refreshes go on."""
    store = make_store(max_records=4, lifetime=100)
    for key in range(6):
        store.add(key, peer=0)
    assert store.count("refused_records_full") == 2
    answer = store.put([9], peer=1)
    assert isinstance(answer, Failed)
    assert answer.code == "storage_full"
    store.wait(60)
    store.add(0, peer=0)
    store.wait(60)
    assert store.get(0) == [(0, 1)]
    assert isinstance(store.put([9], peer=1), Done)


def test_limits_of_a_crowded_key(make_store: Any) -> None:
    """With many providers, places come free by removal, by expiry and by replacement, and only those."""
    store = make_store(max_per_key=20, lifetime=1000)
    for peer in range(20):
        store.add(1, peer, host=f"1.2.{peer % 5}.{peer}")
        store.wait(10)
    store.add(1, peer=30)
    assert store.count("refused_key_full") == 1
    assert store.remove(3) == 1
    store.settle()
    store.add(1, peer=31)
    store.add(1, peer=32)
    assert store.count("refused_key_full") == 2
    store.wait(400)
    store.add(1, peer=33)
    assert sorted(p for p, _ in store.local(1)) == [1, 2, *range(4, 20), 31, 33]
    store.wait(450)
    assert len(store.local(1)) < 20
    for peer in range(20, 40):
        store.add(1, peer, host=f"9.9.{peer}.1")
    assert len(store.local(1)) == 20


def test_local_records_enter_a_full_key(make_store: Any) -> None:
    """What this node's user provides is kept: the provider that expires first makes room."""
    store = make_store(max_per_key=2)
    store.add(1, peer=0)
    store.wait(1)
    store.add(1, peer=1)
    store.put([1], peer=2)
    assert sorted(p for p, _ in store.local(1)) == [1, 2]


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 50), st.sampled_from([b"", b"\1\1\1", b"\2\2\2"])),
        max_size=30,
    )
)
def test_view_counts(script: list[tuple[int, int, bytes]]) -> None:
    """A view's first to expire and counts per network are those of its entries; networks without any are forgotten."""
    view = View({})
    for number, expiry, source in script:
        if expiry == 0:
            view.drop(bytes([number]))
        else:
            view.set(bytes([number]), Entry(expiry, source, b""))
        assert view.sources == Counter(e.source for e in view.entries.values() if e.source != NO_SOURCE)
        if view.entries:
            assert view.entries[view.first_to_expire()].expiry == min(e.expiry for e in view.entries.values())


def test_replaceable_below_half() -> None:
    """Half of the lifetime left is not less than half."""
    assert not is_replaceable(Entry(150, b"", b""), 100, 100)
    assert is_replaceable(Entry(149, b"", b""), 100, 100)


def test_refreshing_makes_no_view_heavier() -> None:
    """A view weighs as many entries as it has had at once: one key's providers, announced again and again, drive the
    views of no other keys out."""
    views = Views(100)
    for key in (b"a", b"b"):
        views.put(key, View({bytes([n]): Entry(1000, b"", b"") for n in range(40)}))
    for number in range(400):
        views.add(b"a", bytes([number % 40]), Entry(1001 + number, b"", b""))
    assert views.get(b"b") is not None
    for number in range(40, 70):
        views.add(b"a", bytes([number]), Entry(1000, b"", b""))
    assert views.get(b"b") is None
