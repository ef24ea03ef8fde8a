"""Answers to GET_PROVIDERS: their order, their size, and what they cost."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codexdht.entropy import seeded
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.records import sign_record
from codexdht.store.answers import choose


def test_no_provider_is_one_empty_packet(make_store: Any) -> None:
    """An unknown key is answered, with the ticket of its request."""
    store = make_store()
    reply = store.get_reply(1)
    assert [discv5.decode_records(body) for body in reply.bodies] == [(1, [])]
    assert (reply.kind, reply.request_id, reply.port) == (Kind.PROVIDERS, b"12345678", 9000)


def test_packets_stay_below_1280_bytes(make_store: Any) -> None:
    """Twenty providers take four packets; each stands on its own and says how many there are."""
    store = make_store()
    for peer in range(20):
        store.add(1, peer, host=f"1.2.{peer}.4")
    packets = [discv5.decode_records(body) for body in store.get_reply(1).bodies]
    assert [p.total for p in packets] == [4] * 4
    assert sorted(store.peer_of(r)[0] for p in packets for r in p.records) == list(range(20))
    assert all(
        len(discv5.encode_outer(Kind.PROVIDERS, bytes(8), body, True)) <= discv5.MAX_PLAINTEXT
        for body in store.get_reply(1).bodies
    )


def test_at_most_five_packets(make_store: Any) -> None:
    """Of forty providers as many are told as fit."""
    store = make_store()
    for peer in range(40):
        store.add(1, peer, host=f"1.2.{peer}.4")
    assert len(store.get_reply(1).bodies) == 5
    assert 20 < len(store.get(1)) < 40
    assert len(store.local(1)) == 40


def test_fresh_ones_first(make_store: Any) -> None:
    """Who is past half its lifetime comes after all others, the older the later."""
    store = make_store(lifetime=1000)
    for peer in range(4):
        store.add(1, peer, host=f"1.2.{peer}.4")
        store.wait(100)
    store.wait(600)
    for peer in range(4, 10):
        store.add(1, peer, host=f"1.2.{peer}.4")
    store.settle()
    answer = [peer for peer, _ in store.get(1)]
    assert sorted(answer[:6]) == [4, 5, 6, 7, 8, 9]
    assert answer[6:] == [3, 2, 1]
    assert [peer for peer, _ in store.local(1)][6:] == [3, 2, 1]
    assert [peer for peer, _ in store.local(1, limit=7)][6:] == [3]


def test_fresh_ones_take_turns(make_store: Any) -> None:
    """Every fresh provider of a popular key has its share of first packets."""
    store = make_store(answer_cache_time=1.0)
    for peer in range(12):
        store.add(1, peer, host=f"1.2.{peer}.4")
    first: Counter[int] = Counter()
    for _ in range(300):
        store.wait(1)
        first[store.get(1)[0][0]] += 1
    assert set(first) == set(range(12))
    assert max(first.values()) < 60


def test_hot_key_costs_no_check_and_no_encoding(make_store: Any) -> None:
    """The second answer is the first one's bytes; announcing the same record under another key needs no check."""
    store = make_store()
    store.add(1, peer=0)
    first = store.get_reply(1).bodies
    assert store.get_reply(1).bodies is first
    for key in range(2, 50):
        store.add(key, peer=0)
    counters = store.stats()["counters"]
    assert counters["signature_checks"] == 1
    assert counters["answers_from_cache"] == 1


def test_cache_is_bounded(make_store: Any) -> None:
    """Answers for a flood of keys push each other out."""
    store = make_store(answer_cache_size=8, record_cache_size=4, view_cache_size=20)
    for key in range(100):
        store.add(key % 3, peer=key % 40, host=f"1.{key}.1.1", settle=False)
        store.get(key)
    assert store.gauge("cached_answers") == 8
    assert len(store.local(0)) + len(store.local(1)) + len(store.local(2)) == 100


def test_change_is_visible_at_once(make_store: Any) -> None:
    """A kept answer does not hide a new, refreshed, replaced or removed provider."""
    store = make_store()
    store.add(1, peer=0, settle=False)
    assert store.get(1) == [(0, 1)]
    store.add(1, peer=1, settle=False)
    assert sorted(store.get(1)) == [(0, 1), (1, 1)]
    store.add(1, peer=1, seq=2, settle=False)
    assert sorted(store.get(1)) == [(0, 1), (1, 2)]
    store.remove(0)
    assert store.get(1) == [(1, 2)]


def test_record_too_large_for_a_packet(make_store: Any) -> None:
    """It is kept for this node's users; peers are told the others."""
    store = make_store()
    large = sign_record(store.keys[5], 1, [b"\x04\x01\x02\x03\x04\x06\x1f\x9a"] * 200)
    store.add_record(store.key(1), large.encoded, large.node_id)
    store.add(1, peer=0)
    assert store.get(1) == [(0, 1)]
    assert len(store.local(1)) == 2


@given(ages=st.lists(st.integers(0, 99), max_size=80), packets=st.integers(1, 5), seed=st.integers(0, 9))
def test_choice(ages: list[int], packets: int, seed: int) -> None:
    """No provider twice, fresh before others, others in order; as many as packets could hold."""
    live = sorted(((100 - age, bytes([n])) for n, age in enumerate(ages)), reverse=True)
    chosen = choose(live, 50, packets, seeded(seed))
    fresh = [item for item in live if item[0] > 50]
    assert len(chosen) == min(len(live), packets * 12) == len(set(chosen))
    assert set(chosen[: len(fresh)]) <= set(fresh)
    assert chosen[len(fresh) :] == live[len(fresh) : len(chosen)]


def test_a_refreshed_provider_does_not_void_the_answer(make_store: Any) -> None:
    """Whoever is fresh already changes nothing by announcing itself again, however often; past half the lifetime it
    does, as it comes first again."""
    store = make_store(lifetime=1000)
    for peer in range(3):
        store.add(1, peer)
    store.get(1)
    for _ in range(3):
        store.wait(1)
        store.add(1, 0)
        store.get(1)
    assert store.machine.counters["providers_refreshed"] == 3
    assert store.machine.counters["answers_from_cache"] == 3
    store.wait(600)
    store.get(1)
    store.add(1, 2)
    assert next(peer for peer, _ in store.get(1)) == 2
    assert store.machine.counters["answers_from_cache"] == 3
