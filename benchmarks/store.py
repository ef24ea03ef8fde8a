"""The provider store at its full size: `python -m benchmarks.store`.

Drives the store's machine on LMDB with its disk thread, without processes and sockets around it: 100 requests a turn,
one turn behind the other, and a commit every 50 ms of the driver's clock, as at 15,000 requests a second. Costs are CPU
time of all threads, commits included, in microseconds and in E. What the disk allows at once decides about the rate: a
turn waits for it when 2,000 changes are not on disk. So turns are also measured at 2,000 requests a second, in real
time. Turns are timed without what others took: the time in which the thread was ready to run and had no core, because
of other processes or, on a virtual machine, of other machines (`benchmarks.stopwatch`). Every record is announced by
its own peer with a signature made beforehand; each provider's signature is checked once. Writes
benchmarks/results/store.json and store.md; with --turnover adds to them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import zmq

from benchmarks.echo import measure_e
from benchmarks.stopwatch import Stopwatch
from benchmarks.store_table import table
from codexdht.actors.disk import DiskThread
from codexdht.identity import PrivateKey
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import Actor, ClockSet, PeerRequest, PutProvider, RemoveProviders
from codexdht.records import sign_record
from codexdht.store.backend import Table
from codexdht.store.buffer import WriteBuffer
from codexdht.store.lmdb_backend import open_lmdb
from codexdht.store.machine import StoreMachine
from codexdht.store.settings import StoreSettings

RESULTS = Path(__file__).parent / "results"
ADDRESS = b"\x04\x01\x02\x03\x04\x06\x1f\x9a"
UNIX = 1_800_000_000.0
TURN = 100
RATE = 15_000
ROUNDS = 5
PAIRS = 15
GETS = 10_000
REMOVED = 100_000
PACED = 20_000
PACED_RATE = 2000


def key_of(number: int) -> bytes:
    """Return the key of the record with this number: nothing has to be kept in memory for it."""
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


class Store:
    """A machine on a fresh environment. `turns` are the lengths of its turns so far, in seconds."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self.disk = DiskThread()
        self.poller = zmq.Poller()
        self.disk.attach(self.poller)
        self.backend = WriteBuffer(open_lmdb(path, settings, self.disk.submit))
        self.machine = StoreMachine(self.backend, settings, random.Random(1))
        self.now = 0.0
        self.turns: list[float] = []
        self.cpu = 0.0
        self.machine.handle(ClockSet(UNIX), self.now)

    def turn(self, requests: list[Any]) -> list[Any]:
        """Handle the requests of one turn of the reactor; return what it sends."""
        self.now += TURN / RATE
        self.disk.drain(self.now)
        watch = Stopwatch()
        for request in requests:
            self.machine.handle(request, self.now)
        self.machine.tick(self.now)
        seconds, cpu = watch.stop()
        self.cpu += cpu
        self.turns.append(seconds)
        return self.machine.outbox.take()

    def settle(self) -> int:
        """Take empty turns until nothing is due; return how many."""
        turns = 0
        while self.is_due():
            self.turn([])
            turns += 1
        return turns

    def is_due(self) -> bool:
        """Tell whether there is something to do within a second; waits for the disk if there is not yet."""
        due = self.machine.deadline()
        if due is not None and due <= self.now + 1:
            return True
        return self.backend.is_waiting and bool(self.poller.poll(60_000))

    def stop(self) -> None:
        """Close the store."""
        self.machine.stop(self.now)
        self.disk.close()

    def reset(self) -> None:
        """Begin a measurement."""
        self.cpu = 0.0
        self.turns.clear()

    def turn_times(self) -> dict[str, float]:
        """Return how long turns took: the 99th percentile and the longest."""
        ordered = sorted(self.turns)
        p99 = ordered[len(ordered) * 99 // 100]
        return {"p99_turn_ms": p99 * 1e3, "longest_turn_ms": ordered[-1] * 1e3}


def request(node_id: bytes, kind: Kind, body: bytes, now: float) -> PeerRequest:
    """Return a peer's request from loopback, which no limit per network applies to."""
    return PeerRequest(node_id, "127.0.0.1", 9000, b"12345678", kind, body, False, now + 1)


def records(count: int) -> list[tuple[bytes, bytes]]:
    """Return (node id, encoded record) of so many peers."""
    entropy = random.Random(7)
    signed = (sign_record(PrivateKey.generate(entropy), 1, [ADDRESS]) for _ in range(count))
    return [(record.node_id, record.encoded) for record in signed]


def announcements(
    peers: list[tuple[bytes, bytes]], first: int, count: int, now: float
) -> Iterator[list[PeerRequest]]:
    """Return ADD_PROVIDER requests, a turn's worth at a time: peers in turn, every record under a key of its own."""
    for start in range(first, first + count, TURN):
        turn = []
        for number in range(start, min(start + TURN, first + count)):
            node_id, encoded = peers[number % len(peers)]
            body = discv5.encode_add_provider(discv5.AddProvider(key_of(number), encoded))
            turn.append(request(node_id, Kind.ADD_PROVIDER, body, now))
        yield turn


def fill(store: Store, peers: list[tuple[bytes, bytes]], first: int, count: int) -> dict[str, float]:
    """Announce records until there are so many more; return what one cost. None of them may be refused."""
    store.reset()
    added = store.machine.counters["providers_added"]
    started = time.perf_counter()
    spent = 0.0
    for turn in announcements(peers, first, count, store.now):
        before = time.perf_counter()
        store.turn(turn)
        spent += time.perf_counter() - before
        if first == 0 and time.perf_counter() - started > 5:
            started = time.perf_counter()
            sys.stderr.write(f"\r{store.machine.counters['providers_added']:>9,} records")
    store.now += 1
    store.turn([])
    added = store.machine.counters["providers_added"] - added
    assert added == count, f"{count - added} of {count} announcements were refused"
    return {
        "cpu_us": store.cpu / count * 1e6,
        "rate_per_s": count / spent,
        **store.turn_times(),
    }


def gets(store: Store, keys: Callable[[int], bytes], count: int = GETS) -> float:
    """Return the CPU time of a GET_PROVIDERS in microseconds, the median of some rounds."""
    return median(get_round(store, keys, number, count) for number in range(ROUNDS))


def get_round(store: Store, keys: Callable[[int], bytes], number: int, count: int = GETS) -> float:
    """Return the CPU time of a GET_PROVIDERS in microseconds, in one round of so many; no answer is kept from earlier
    rounds."""
    store.now += 60
    first = number * count
    turns = [
        [
            request(bytes(32), Kind.GET_PROVIDERS, discv5.encode_get_providers(keys(n)), store.now)
            for n in range(start, start + TURN)
        ]
        for start in range(first, first + count, TURN)
    ]
    store.reset()
    for turn in turns:
        store.turn(turn)
    return store.cpu / count * 1e6


def compare_gets(small: Store, small_count: int, large: Store, large_count: int) -> dict[str, float]:
    """Return what a GET_PROVIDERS costs in a small and in a large store, and the ratio, medians over rounds.

    A round in one is followed by a round in the other, as a shared machine is faster by half in one minute than in the
    next.
    """
    pairs = [
        (
            get_round(small, random_key(small_count), number),
            get_round(large, random_key(large_count), number),
        )
        for number in range(PAIRS)
    ]
    return {
        "get_10k_cpu_us": median(of_small for of_small, _ in pairs),
        "get_cpu_us": median(of_large for _, of_large in pairs),
        "get_ratio": median(of_large / of_small for of_small, of_large in pairs),
    }


def paced(store: Store, peers: list[tuple[bytes, bytes]], first: int) -> dict[str, float]:
    """Announce records in real time, at a rate below what the disk allows; return how long turns took."""
    store.reset()
    pause = TURN / PACED_RATE
    for turn in announcements(peers, first, PACED, store.now + 60):
        due = time.perf_counter() + pause
        store.now += pause - TURN / RATE
        store.turn(turn)
        while (left := due - time.perf_counter()) > 0:
            if store.poller.poll(int(left * 1000) + 1):
                store.now -= TURN / RATE
                store.turn([])
    store.settle()
    return {"rate_per_s": PACED_RATE, **store.turn_times()}


def memory(process: str = "self") -> dict[str, float]:
    """Return the resident megabytes of a process: those that no file backs, and those of files, as LMDB's map is."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return {name: int(fields[f"Rss{name.title()}"].split()[0]) / 1024 for name in ("anon", "file")}


def serve(path: Path, count: int) -> dict[str, Any]:
    """Open a store in a process of its own, answer 500,000 random GETs; return its memory before and after."""
    code = (
        "import json; from pathlib import Path; from benchmarks.store import *\n"
        f"store = Store(Path({str(path)!r}), StoreSettings()); empty = memory()\n"
        f"gets(store, random_key({count}), 100_000); after = memory(); store.stop()\n"
        "print(json.dumps({'opened': empty, 'served': after}))"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    return dict(json.loads(output))


def random_key(count: int) -> Callable[[int], bytes]:
    """Return a function that draws keys of the first `count` records, spread evenly."""
    return lambda n: key_of(n * 2_654_435_761 % count)


def removal(store: Store, peer: PrivateKey) -> dict[str, float]:
    """Remove a peer with 100,000 keys; return when the answer came, and the longest turn until all is deleted."""
    encoded = sign_record(peer, 1, [ADDRESS]).encoded
    keys = [key_of(2**40 + n) for n in range(REMOVED)]
    store.turn([PutProvider(Actor.API, 1, 0, keys, encoded)])
    store.settle()
    store.reset()
    started = time.perf_counter()
    sent = store.turn([RemoveProviders(Actor.API, 2, 0, peer.public_key)])
    while not sent and store.is_due():
        sent = store.turn([])
    answered = time.perf_counter() - started
    assert sent[0][1][0].value == {"removed": REMOVED}
    store.settle()
    return {"keys": REMOVED, "answered_ms": answered * 1e3, **store.turn_times()}


def expire_all(store: Store, lifetime: int) -> dict[str, float]:
    """Let every record expire at once; return what deleting one cost, and the longest turn."""
    count = store.backend.count(Table.ENTRIES)
    store.now += lifetime
    store.reset()
    started = time.perf_counter()
    turns = store.settle()
    spent = time.perf_counter() - started
    assert store.backend.count(Table.ENTRIES) == 0
    return {
        "turns": turns,
        "cpu_us": store.cpu / count * 1e6,
        "rate_per_s": count / spent,
        **store.turn_times(),
    }


def turnover(path: Path, peers: list[tuple[bytes, bytes]], count: int, times: int) -> dict[str, float]:
    """Replace all records `times` times; return the size of the file when it was full first, and at its largest."""
    lifetime = max(2, count // RATE)
    store = Store(path, StoreSettings(lifetime=lifetime, max_records=2 * count))
    first = largest = 0
    for round_number in range(times + 1):
        fill(store, peers, round_number * count, count)
        largest = max(largest, store.backend.file_bytes())
        first = first or largest
        sys.stderr.write(f"\rturnover {round_number}: {largest / 1e6:.0f} MB")
    store.stop()
    return {"times": times, "records": count, "full_mb": first / 1e6, "largest_mb": largest / 1e6}


def measure(path: Path, count: int, providers: int) -> dict[str, Any]:
    """Run everything but the turnover; return the figures."""
    e_us = measure_e() * 1e6
    settings = StoreSettings(max_records=count + PACED + REMOVED)
    peers = records(providers)
    few = min(count, 10_000)
    small = Store(path / "small", settings)
    small_add = fill(small, peers, 0, few)
    small.stop()
    base = memory()["anon"]
    store = Store(path / "large", settings)
    result: dict[str, Any] = {"e_us": e_us, "records": count, "providers": providers, "add_10k": small_add}
    result["add"] = fill(store, peers, 0, count)
    result["memory_mb"] = memory()["anon"] - base
    result["used_mb"] = store.backend.used_bytes() / 1e6
    result["file_mb"] = store.backend.file_bytes() / 1e6
    small = Store(path / "small", settings)
    result |= compare_gets(small, few, store, count)
    small.stop()
    result["get_hot_cpu_us"] = gets(store, lambda _: key_of(1))
    result["paced"] = paced(store, peers, count)
    store.stop()
    result["process"] = serve(path / "large", count)
    store = Store(path / "large", settings)
    result["removal"] = removal(store, PrivateKey.generate(random.Random(9)))
    result["expiry"] = expire_all(store, settings.lifetime)
    store.stop()
    return result


def main() -> None:
    """Parse arguments, measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--providers", type=int, default=10_000)
    parser.add_argument(
        "--turnover", type=int, default=0, metavar="TIMES", help="only replace all records so many times"
    )
    parser.add_argument("--no-write", action="store_true", help="leave benchmarks/results alone")
    arguments = parser.parse_args()
    path = Path(tempfile.mkdtemp(prefix="store-bench-"))
    try:
        if arguments.turnover:
            result = json.loads((RESULTS / "store.json").read_text())
            peers = records(arguments.providers)
            result["turnover"] = turnover(path, peers, arguments.records, arguments.turnover)
        else:
            result = measure(path, arguments.records, arguments.providers)
            load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
            result["machine"] = (
                f"{os.cpu_count()} cores, load averages {load} at the end, niceness {os.nice(0)}, "
                f"Python {platform.python_version()}"
            )
    finally:
        shutil.rmtree(path)
    text = table(result)
    sys.stdout.write("\r" + text)
    if not arguments.no_write:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "store.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "store.md").write_text(text)


if __name__ == "__main__":
    main()
