"""SIGKILL at random moments: what was acknowledged is there, nothing is half-written, nothing comes back."""

from __future__ import annotations

import copy
import os
import random
import signal
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, Done, PeerRequest, PutProvider, RemoveProviders
from codexdht.store.backend import Table
from codexdht.store.layout import decode_entry
from codexdht.store.peers import decode_peer
from codexdht.store.tools import verify

KILLS = int(os.environ.get("CODEXDHT_KILLS", "200"))
"""Half of them for each way to commit. Set it to a thousand for a longer search."""
LIFETIME = 4
PEERS = 6
KEYS = 25
SEQS = 40
LINE = struct.Struct(">IId")


class Op(NamedTuple):
    """One request: "network" or "local" announcement, or removal; `now` is when it is made."""

    what: str
    peer: int
    seq: int
    keys: list[int]
    now: float


class Model:
    """The entries and seqs that there must be after so many operations."""

    def __init__(self) -> None:
        self.entries: dict[tuple[int, int], int] = {}
        self.seqs = [1] * PEERS

    def apply(self, op: Op, time: int) -> None:
        if op.what == "remove":
            self.entries = {k: e for k, e in self.entries.items() if k[1] != op.peer}
            return
        self.seqs[op.peer] = op.seq
        for key in op.keys:
            self.entries[key, op.peer] = time + LIFETIME

    def live(self, time: int) -> dict[tuple[int, int], tuple[int, int]]:
        return {k: (e, self.seqs[k[1]]) for k, e in self.entries.items() if e > time}


def script(seed: int, now: float, seqs: list[int]) -> list[list[Op]]:
    """Return the operations of one life of the process, turn by turn; seqs only ever rise."""
    rng = random.Random(seed)
    seqs = list(seqs)
    turns = []
    for _ in range(400):
        now += rng.random() * 0.08
        turn = []
        for _ in range(rng.randrange(1, 9)):
            peer = rng.randrange(PEERS)
            seqs[peer] = min(seqs[peer] + (rng.random() < 0.1), SEQS)
            what = rng.choices(["network", "local", "remove"], [30, 3, 1])[0]
            keys = [rng.randrange(KEYS) for _ in range(1 if what == "network" else 5)]
            turn.append(Op(what, peer, seqs[peer], keys, now))
        turns.append(turn)
    return turns


def live_and_die(store: Any, turns: list[list[Op]], report: int, threaded: bool) -> None:
    """Run a script in the child, telling how many operations were begun and how many are acknowledged."""
    begun = durable = promised = at_last_commit = 0  # the latter: what was begun when a commit was complete
    if threaded:
        store.submit = ThreadPoolExecutor(1).submit
    store.start()
    for turn in turns:
        store.now = turn[0].now
        begun += len(turn)
        os.write(report, LINE.pack(begun, durable, store.now))
        commits = store.count("commits")
        for op in turn:
            store.machine.handle(message_of(store, op), store.now)
            promised += op.what != "network"
            while threaded and store.machine.has_jobs:  # while the disk is behind, others would overtake them
                store.machine.tick(store.now)
        store.machine.tick(store.now)
        answers = store.sent(Actor.API)
        promised -= len(answers)
        if (promised and not threaded) or not all(isinstance(answer, Done) for answer in answers):
            os._exit(3)
        match store.count("commits") - commits:
            case 0:
                pass
            case _ if threaded:  # the last one was started when the one before was complete, or later
                durable, at_last_commit = at_last_commit, begun - len(turn)
            case _:
                durable = begun
        os.write(report, LINE.pack(begun, durable, store.now))


def message_of(store: Any, op: Op) -> Any:
    record = store.record(op.peer, op.seq)
    if op.what == "remove":
        return RemoveProviders(Actor.API, 1, 0, store.keys[op.peer].public_key)
    if op.what == "local":
        return PutProvider(Actor.API, 1, 0, [store.key(k) for k in op.keys], record.encoded)
    body = discv5.encode_add_provider(discv5.AddProvider(store.key(op.keys[0]), record.encoded))
    return PeerRequest(record.node_id, "127.0.0.1", 1, b"", Kind.ADD_PROVIDER, body, False, 0)


def live_in_child(
    store: Any, turns: list[list[Op]], delay: float, threaded: bool
) -> list[tuple[int, int, float]]:
    """Fork, let the child live for so many seconds, kill it; return what it has told."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(readable)
            live_and_die(store, turns, writable, threaded)
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it is, the child must not go on as a second pytest
            os._exit(4)
    os.close(writable)
    told = os.read(readable, LINE.size)
    signal.sigtimedwait([signal.SIGCHLD], delay)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    while chunk := os.read(readable, 65536):
        told += chunk
    os.close(readable)
    return [LINE.unpack_from(told, at) for at in range(0, len(told) - LINE.size + 1, LINE.size)]


def contents(store: Any) -> dict[tuple[int, int], tuple[int, int]]:
    """Return what a freshly opened store holds: (key, peer) → (expiry, seq), as its tables say."""
    names = {store.key(k): k for k in range(KEYS)}
    peers = {n: decode_peer(n, v) for n, v in store.backend.range(Table.RECORDS, b"", b"\xff" * 9, 10_000)}
    time = int(store.unix)
    found = {}
    for row, value in store.backend.range(Table.ENTRIES, b"", b"\xff" * 99, 100_000):
        peer, expiry = peers.get(row[32:]), decode_entry(value).expiry
        if peer is not None and expiry > time:
            found[names[row[:32]], store.peer_of(peer.encoded)[0]] = expiry, peer.seq
    return found


@pytest.fixture
def blocked_sigchld() -> Any:
    """Let `sigtimedwait` wait for a child's end or a timeout."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.timeout(60 + KILLS)
def test_killed_at_random_moments(make_disk_store: Any, blocked_sigchld: None, threaded: bool) -> None:
    """After each kill the store holds exactly what it did after some operation not before the last acknowledged one;
    also with commits in a thread of their own, as a node makes them."""
    store = make_disk_store(lifetime=LIFETIME, answer_cache_time=0.0)
    for peer in range(PEERS):
        for seq in range(1, SEQS + 1):
            store.record(peer, seq)
    model = Model()
    used_seqs = list(model.seqs)
    rng = random.Random(20)
    unacknowledged = 0
    for life in range(KILLS // 2):
        store.stop()
        turns = script(life, store.now, used_seqs)
        told = live_in_child(store, turns, rng.random() * 0.04, threaded)
        begun, durable, store.now = told[-1]
        ops = [op for turn in turns for op in turn][:begun]
        store.start()
        found = contents(store)
        candidates = []
        for count in range(begun + 1):
            if count >= durable and model.live(int(store.unix)) == found:
                candidates.append(copy.deepcopy(model))
            if count < begun:
                model.apply(ops[count], int(ops[count].now + store.offset))
        assert candidates, (life, begun, durable)
        model = candidates[-1]
        for op in ops:
            used_seqs[op.peer] = max(used_seqs[op.peer], op.seq)
        unacknowledged += begun - durable
    store.stop()
    assert unacknowledged > KILLS // 2
    report = verify(Path(store.path))
    assert report.problems == []
