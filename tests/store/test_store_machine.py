"""What the node's own actors ask of the store, and how it behaves among them."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    Close,
    Done,
    DropProvided,
    Failed,
    Hello,
    Life,
    ListProvided,
    LoadTable,
    LocalRecords,
    NodeLife,
    PutProvided,
    PutProvider,
    RemoveProviders,
    SaveTable,
)
from codexdht.store.backend import NoRoom, Table

KEYS = [bytes([n]) * 32 for n in range(10)]


def test_local_write_is_answered_after_its_commit(make_store: Any) -> None:
    """Nothing is promised before it is on disk; one turn's promises share a commit."""
    store = make_store()
    encoded = store.record(0).encoded
    for request in (1, 2):
        key = store.key(request)
        store.machine.handle(PutProvider(Actor.API, request, store.now + 1, [key], encoded), store.now)
    assert store.sent(Actor.API) == []
    store.machine.tick(store.now)
    assert store.sent(Actor.API) == [Done(1, None), Done(2, None)]
    assert store.count("commits") == 1
    store.crash()
    store.start()
    assert store.get(1) == store.get(2) == [(0, 1)]


def test_network_records_are_committed_within_100_ms(make_store: Any) -> None:
    """The machine asks to be called in time, and what it then commits survives a crash."""
    store = make_store()
    store.add(1, peer=0)
    assert store.get(1) == [(0, 1)]
    assert store.now < store.machine.deadline() <= store.now + 0.1
    store.now = store.machine.deadline()
    store.settle()
    store.crash()
    store.start()
    assert store.get(1) == [(0, 1)]


def test_crash_before_commit_leaves_the_last_commit(make_store: Any) -> None:
    """What was not committed is gone as a whole."""
    store = make_store()
    store.add(1, peer=0)
    store.wait(0.1)
    store.add(2, peer=0)
    store.add(3, peer=1)
    store.crash()
    store.start()
    assert [store.get(key) for key in (1, 2, 3)] == [[(0, 1)], [], []]


def test_large_batch_is_committed_early(make_store: Any) -> None:
    """After so many changes a commit does not wait for its time."""
    store = make_store(max_batch=10)
    for key in range(10):
        store.add(key, peer=0, settle=False)
    store.machine.tick(store.now)
    assert store.count("commits") == 1


def test_removal_is_complete_and_survives(make_store: Any) -> None:
    """A removed peer is under no key, its seq is forgotten, and a second removal finds nothing."""
    store = make_store()
    for key in range(5):
        store.add(key, peer=0, seq=9)
        store.add(key, peer=1)
    assert store.remove(0) == 5
    assert [store.get(key) for key in range(5)] == [[(1, 1)]] * 5
    store.crash()
    store.start()
    assert [store.get(key) for key in range(5)] == [[(1, 1)]] * 5
    assert store.remove(0) == 0
    store.settle()
    assert store.gauge("records") == 5
    store.add(1, peer=0, seq=3)
    assert sorted(store.get(1)) == [(0, 3), (1, 1)]


def test_removal_of_many_keys_lets_others_through(make_store: Any) -> None:
    """Ten thousand entries go in small steps: out of sight at once, deleted bit by bit, also over a restart; the peer
    may come back meanwhile."""
    store = make_store()
    keys = [n.to_bytes(32, "big") for n in range(10_000)]
    store.done(PutProvider(0, 0, 0, keys, store.record(0).encoded))
    store.add(1, peer=1)
    assert store.remove(0) == 10_000
    assert store.rows() > 9000
    store.machine.tick(store.now)
    store.add_record(keys[5], store.record(0).encoded, store.record(0).node_id, settle=False)
    store.stop()
    store.start()
    rounds = 0
    while store.rows() > 2:
        before = store.rows()
        store.machine.tick(store.now)
        assert store.get(1) == [(1, 1)]
        assert before - store.rows() <= 128
        rounds += 1
    assert rounds > 30
    assert store.remove(0) == 1


def test_many_keys_at_once_let_others_through(make_store: Any) -> None:
    """A user's request for thousands of keys is done in steps, and answered once, at its end."""
    store = make_store()
    message = PutProvider(
        Actor.API, 5, 0, [n.to_bytes(32, "big") for n in range(2000)], store.record(0).encoded
    )
    store.machine.handle(message, store.now)
    turns = 0
    while not (answers := store.sent(Actor.API)):
        before = store.rows()
        store.machine.tick(store.now)
        turns += 1
        assert store.rows() - before <= 128
    assert answers == [Done(5, None)]
    assert turns > 5


def test_too_many_jobs_are_busy(make_store: Any) -> None:
    """The queue of large writes is bounded."""
    store = make_store(max_jobs=2)
    keys = [n.to_bytes(32, "big") for n in range(500)]
    for request in range(4):
        message = PutProvider(Actor.API, request, 0, keys, store.record(0).encoded)
        store.machine.handle(message, store.now)
    answers = store.sent(Actor.API)
    assert [(type(a), a.request, a.code) for a in answers] == [(Failed, 2, "busy"), (Failed, 3, "busy")]


def test_stop_answers_what_waits(make_store: Any) -> None:
    """Unfinished writes are told; finished ones are on disk."""
    store = make_store()
    keys = [n.to_bytes(32, "big") for n in range(500)]
    encoded = store.record(0).encoded
    store.machine.handle(PutProvider(Actor.API, 1, 0, keys[:1], encoded), store.now)
    store.machine.handle(PutProvider(Actor.API, 2, 0, keys, encoded), store.now)
    store.stop()
    failed, done = store.sent(Actor.API)
    assert (failed.request, failed.code) == (2, "not_running")
    assert done == Done(1, None)
    store.start()


def test_mail_after_the_stop_is_dropped(make_store: Any) -> None:
    """A turn more, as when supervisord has died, finds no damage in a store that is closed."""
    store = make_store(lifetime=100)
    store.add(1, peer=0)
    store.stop()
    assert store.request(Kind.GET_PROVIDERS, discv5.encode_get_providers(store.key(1))) == []
    store.add(2, peer=1, settle=False)
    store.machine.handle(Close(Actor.API, 1, store.now + 60), store.now)
    store.machine.tick(store.now + 100)
    assert store.machine.is_idle()
    store.start()
    assert store.get(1) == [(0, 1)]
    assert store.get(2) == []


def test_killed_readers_are_looked_for_once_a_minute(
    make_store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in every turn: it walks through all readers."""
    store, looks = make_store(), []
    monkeypatch.setattr(store.backend, "forget_dead_readers", lambda: looks.append(store.now))
    begun = store.now
    for _ in range(130):
        store.wait(1)
    assert [at - begun for at in looks] == [1, 61, 121]


def test_close_is_answered_when_all_is_on_disk(make_store: Any) -> None:
    """After Close a crash loses nothing."""
    store = make_store()
    store.add(1, peer=0)
    assert store.done(Close(0, 0, 0)) is None
    store.crash()
    store.start()
    assert store.get(1) == [(0, 1)]


def test_table_snapshot(make_store: Any) -> None:
    """What routing saved is what it loads, of any size, also after a restart; the last one counts."""
    store = make_store()
    assert store.done(LoadTable(0, 0, 0)) == []
    large = [{"record": bytes(180), "rtt": 0.1, "n": n} for n in range(300)]
    for entries in (large, [], large[:7]):
        store.done(SaveTable(0, 0, 0, entries))
        assert store.done(LoadTable(0, 0, 0)) == entries
    store.crash()
    store.start()
    assert store.done(LoadTable(0, 0, 0)) == large[:7]


def test_unreadable_table_snapshot(make_store: Any) -> None:
    """A node starts without a table rather than not at all."""
    store = make_store()
    store.backend.put(Table.SNAPSHOT, bytes(4), b"\xc1")
    assert store.done(LoadTable(0, 0, 0)) == []
    assert store.events() == ["table_snapshot_unreadable"]


def test_provided_keys(make_store: Any) -> None:
    """Remembered with time and record, listed in pages in key order, until withdrawn."""
    store = make_store()
    store.done(PutProvided(0, 0, 0, [[key, 1.5] for key in KEYS], b"record"))
    store.done(PutProvided(0, 0, 0, [[KEYS[3], 2.5]], b""))
    store.crash()
    store.start()
    assert store.done(ListProvided(0, 0, 0, b"", 2)) == [[key, 1.5, b"record"] for key in KEYS[:2]]
    assert store.done(ListProvided(0, 0, 0, KEYS[3], 2)) == [[KEYS[3], 2.5, b""], [KEYS[4], 1.5, b"record"]]
    store.done(DropProvided(0, 0, 0, KEYS[:9]))
    assert store.done(ListProvided(0, 0, 0, b"", 100)) == [[KEYS[9], 1.5, b"record"]]


def test_limit_of_provided_keys(make_store: Any) -> None:
    """Above it the user is told; what is remembered may still change."""
    store = make_store(max_provided=3)
    store.done(PutProvided(0, 0, 0, [[key, 0.0] for key in KEYS[:3]], b""))
    answer = store.ask(PutProvided(0, 0, 0, [[KEYS[5], 0.0]], b""))
    assert isinstance(answer, Failed)
    assert answer.code == "storage_full"
    assert store.done(PutProvided(0, 0, 0, [[KEYS[0], 9.0]], b"")) is None
    store.done(DropProvided(0, 0, 0, KEYS[:2]))
    assert isinstance(store.ask(PutProvided(0, 0, 0, [[key, 0.0] for key in KEYS[3:9]], b"")), Failed)
    assert len(store.done(ListProvided(0, 0, 0, b"", 100))) <= 3


@pytest.mark.parametrize(
    "message", [PutProvided(0, 0, 0, [[b"short", 0.0]], b""), DropProvided(0, 0, 0, [b""])]
)
def test_provided_keys_of_wrong_length(make_store: Any, message: Any) -> None:
    """A user's mistake gets its answer."""
    answer = make_store().ask(message)
    assert isinstance(answer, Failed)
    assert answer.code == "invalid_params"


def test_life_of_the_node(make_store: Any) -> None:
    """The API actor's word is always taken, others' only by who knows nothing; everyone is told on Hello."""
    store = make_store()

    def told() -> int:
        store.machine.handle(Hello(Actor.ROUTING), store.now)
        [life] = store.sent(Actor.ROUTING)
        assert life.actor == Actor.STORE
        return int(life.life)

    assert told() == Life.UNKNOWN
    for actor, life, expected in [
        (Actor.API, Life.UNKNOWN, Life.UNKNOWN),
        (Actor.WIRE, Life.OPEN, Life.OPEN),
        (Actor.ROUTING, Life.STARTED, Life.OPEN),
        (Actor.API, Life.STARTED, Life.STARTED),
    ]:
        store.machine.handle(NodeLife(actor, life), store.now)
        assert told() == expected
    store.machine.handle(LocalRecords(b"", b""), store.now)
    assert store.count("unexpected_message") == 0


def test_stats(make_store: Any) -> None:
    """Counters and gauges of the store."""
    store = make_store()
    store.add(1, peer=0)
    stats = store.stats()
    assert stats["counters"]["providers_added"] == 1
    assert stats["gauges"]["records"] == stats["gauges"]["providers"] == 1
    assert 0 < stats["gauges"]["used_bytes"] <= stats["gauges"]["file_bytes"]


def test_provider_numbers_run_out(make_store: Any) -> None:
    """After 2^32 providers newcomers are refused; nobody is confused with another."""
    store = make_store()
    store.backend.put(Table.META, b"next number", b"\xff\xff\xff\xff")
    store.add(1, peer=0)
    assert store.get(1) == []
    assert "storage_full" in store.events()
    assert issubclass(NoRoom, Exception)


def test_equal_seeds_answer_equally(make_store: Any) -> None:
    """The same messages and the same seed give the same answers."""

    def trace() -> list[Any]:
        store = make_store()
        for peer in range(12):
            store.add(1, peer, host=f"1.{peer}.1.1")
        return [store.get(1) for _ in range(3)]

    assert trace() == trace()


def test_removing_an_unknown_peer(make_store: Any) -> None:
    """Nothing to remove is an answer, not an error."""
    store = make_store()
    assert store.done(RemoveProviders(0, 0, 0, store.keys[0].public_key)) == {"removed": 0}
