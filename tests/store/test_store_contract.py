"""The store's promises, on both backends, against a model that keeps one flat dict and scans it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

DAY = 86_400
LIFETIME = 1000
FEW = {"max_per_key": 3, "max_per_source_and_key": 2, "max_per_source": 4, "max_records": 8}
MANY = {"max_per_key": 18, "max_per_source_and_key": 7, "max_per_source": 11, "max_records": 40}
"""With these, keys have so many providers that what the limits need to know of them is kept in memory."""
HOSTS = ["1.2.3.4", "1.2.3.200", "5.6.7.8", "2a00:1450::1", "127.0.0.1", "10.0.0.1"]
NETWORKS = ["1.2.3", "1.2.3", "5.6.7", "2a00:1450", None, None]
NORMAL = 1000
AHEAD = 2**64 - 1

PEERS = 24
peers = st.one_of(st.integers(0, 4), st.integers(0, PEERS - 1))
keys = st.integers(0, 3)
seqs = st.sampled_from([NORMAL, NORMAL + 1, NORMAL + 2, AHEAD, AHEAD - 1])
hosts = st.integers(0, len(HOSTS) - 1)


class Model:
    """What must be in the store. `time` never goes back; entries: (key, peer) → [expiry, network]."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.time = 0
        self.entries: dict[tuple[int, int], list[Any]] = {}
        self.seqs: dict[int, int] = {}

    def expire(self) -> None:
        self.entries = {k: e for k, e in self.entries.items() if e[0] > self.time}
        self.forget_unused()

    def forget_unused(self) -> None:
        used = {peer for _, peer in self.entries}
        self.seqs = {peer: seq for peer, seq in self.seqs.items() if peer in used}

    def of_key(self, key: int) -> dict[int, int]:
        return {peer: e[0] for (k, peer), e in self.entries.items() if k == key}

    def wins(self, seq: int, held: int) -> bool:
        if held > AHEAD - 10:
            return seq != held
        return held < seq < AHEAD - 10

    def add(self, key: int, peer: int, seq: int, network: str | None, local: bool) -> list[int]:
        """Return the providers of which one has to make room."""
        held = self.seqs.get(peer)
        if held is not None and self.wins(seq, held):
            self.seqs[peer] = held = seq
        if (key, peer) in self.entries:
            if held == seq:
                self.entries[key, peer][0] = self.time + LIFETIME
            return []
        candidates: list[int] = []
        from_network = [k for k, e in self.entries.items() if e[1] == network and network]
        if len([k for k, _ in from_network if k == key]) >= self.limits["max_per_source_and_key"]:
            return []
        if len(from_network) >= self.limits["max_per_source"]:
            return []
        of_key = self.of_key(key)
        if len(of_key) >= self.limits["max_per_key"]:
            first = min(of_key.values())
            if not local and 2 * (first - self.time) >= LIFETIME:
                return []
            candidates = [peer for peer, expiry in of_key.items() if expiry == first]
        elif len(self.entries) >= self.limits["max_records"]:
            return []
        self.entries[key, peer] = [self.time + LIFETIME, network]
        self.seqs.setdefault(peer, seq)
        return candidates


class Comparison(RuleBasedStateMachine):
    """Every rule does the same to store and model; the invariant compares what can be seen of them."""

    def __init__(self, make_store: Any, limits: dict[str, int]) -> None:
        super().__init__()
        self.store = make_store(lifetime=LIFETIME, **limits)
        self.model = Model(limits)
        self.model.time = int(self.store.unix)

    def teardown(self) -> None:
        self.store.backend.close()

    def _make_room(self, key: int, candidates: list[int]) -> None:
        if candidates:
            left = {peer for peer, _ in self.store.local(key)}
            [gone] = set(self.model.of_key(key)) - left
            assert gone in candidates
            del self.model.entries[key, gone]
            self.model.forget_unused()

    @rule(adds=st.lists(st.tuples(keys, peers, seqs, hosts), min_size=1, max_size=8))
    def add_from_network(self, adds: list[tuple[int, int, int, int]]) -> None:
        for add in adds:
            self._add_from_network(*add)

    @rule(key=keys, first=peers, host=hosts)
    def crowd(self, key: int, first: int, host: int) -> None:
        """A dozen peers announce themselves, each from another host."""
        for n in range(12):
            self._add_from_network(key, (first + n) % PEERS, NORMAL, (host + n) % len(HOSTS))

    def _add_from_network(self, key: int, peer: int, seq: int, host: int) -> None:
        candidates = self.model.add(key, peer, seq, NETWORKS[host], False)
        self.store.add(key, peer, seq, HOSTS[host])
        self._make_room(key, candidates)

    @rule(key=keys, peer=peers, seq=seqs)
    def add_locally(self, key: int, peer: int, seq: int) -> None:
        candidates = self.model.add(key, peer, seq, None, True)
        self.store.put([key], peer, seq)
        self._make_room(key, candidates)

    @rule(peer=peers)
    def remove(self, peer: int) -> None:
        expected = [k for k in self.model.entries if k[1] == peer]
        assert self.store.remove(peer) == len(expected)
        self.store.settle()
        for key in expected:
            del self.model.entries[key]
        self.model.forget_unused()

    @rule(seconds=st.sampled_from([0.3, 1, 60, LIFETIME / 2, LIFETIME - 1, LIFETIME]))
    def wait(self, seconds: float) -> None:
        ahead = self.model.time - int(self.store.unix)
        self.store.wait(seconds)
        self.model.time = int(self.store.unix) + ahead
        self.model.expire()

    @rule(seconds=st.sampled_from([10, 400, 3 * DAY]))
    def set_clock_back(self, seconds: int) -> None:
        self.store.step_clock(-seconds)

    @rule(seconds=st.sampled_from([10, 400]))
    def set_clock_ahead(self, seconds: int) -> None:
        ahead = self.model.time - int(self.store.unix)
        self.store.step_clock(seconds)
        self.model.time += max(0, seconds - ahead)
        self.model.expire()

    @rule()
    def restart(self) -> None:
        self.store.stop()
        self.store.start()

    @rule()
    def crash_after_commit(self) -> None:
        self.store.wait(0)
        self.store.now += 0.1
        self.model.time = max(
            self.model.time, self.model.time + int(self.store.unix) - int(self.store.unix - 0.1)
        )
        self.store.settle()
        self.model.expire()
        self.store.crash()
        self.store.start()

    @invariant()
    def agrees(self) -> None:
        for key in range(4):
            expected = self.model.of_key(key)
            listed = self.store.local(key)
            assert dict(listed) == {peer: self.model.seqs[peer] for peer in expected}
            expiries = [expected[peer] for peer, _ in listed]
            assert expiries == sorted(expiries, reverse=True)
            assert sorted(self.store.get(key)) == sorted(listed)
        assert self.store.gauge("records") == len(self.model.entries)
        assert self.store.gauge("providers") == len(self.model.seqs)


@pytest.mark.parametrize("limits", [FEW, MANY], ids=["few", "many"])
def test_store_agrees_with_the_model(make_store: Any, limits: dict[str, int]) -> None:
    """Whatever is announced, removed, expires, and however clock and process behave: what a naive model holds is
    what the store answers."""
    run_state_machine_as_test(
        lambda: Comparison(make_store, limits),
        settings=hypothesis_settings(
            max_examples=25, stateful_step_count=25, deadline=None, derandomize=True
        ),
    )
