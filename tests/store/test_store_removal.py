"""A removed provider is out of sight at once, though deleting all that it has takes a while."""

from __future__ import annotations

from typing import Any

KEYS = 600


def removed(make_store: Any, **settings: Any) -> tuple[Any, int]:
    """Return a store with a provider of many keys, and the one of these that is deleted last. Eighteen others provide
    that one, too. Everything that the store keeps in memory of it is there."""
    store = make_store(**settings)
    store.put(list(range(KEYS)), peer=0)
    store.settle()
    last = max(range(KEYS), key=store.key)
    for peer in range(1, 19):
        store.add(last, peer, host=f"1.2.{peer}.4")
    assert (0, 1) in store.get(last)
    store.remove(0)
    assert store.rows() > 100
    return store, last


def test_a_kept_answer_does_not_name_it(make_store: Any) -> None:
    """Neither peers nor users are told of it from then on."""
    store, last = removed(make_store)
    assert sorted(store.get(last)) == sorted(store.local(last)) == [(peer, 1) for peer in range(1, 19)]


def test_it_takes_no_place_at_a_full_key(make_store: Any) -> None:
    """The next newcomer has its place, although its entry is still there."""
    store, last = removed(make_store, max_per_key=19)
    store.add(last, 30, host="1.2.30.4", settle=False)
    assert (30, 1) in store.get(last)
    assert store.count("refused_key_full") == 0
    store.settle()
    assert store.rows() == 19


def test_it_may_come_back_meanwhile(make_store: Any) -> None:
    """What it announces after its removal stays when the rest has been deleted."""
    store, last = removed(make_store)
    store.add(last, 0, seq=2, settle=False)
    store.settle()
    assert (0, 2) in store.get(last)
    assert store.rows() == 19
    assert store.gauge("providers") == 19
