"""A store under test: the real machine on a real backend, with the clock in the test's hand."""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from codexdht.identity import PrivateKey, keccak256
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    ClockSet,
    Done,
    Failed,
    GetProviders,
    PeerReply,
    PeerRequest,
    PutProvider,
    RemoveProviders,
    Stats,
)
from codexdht.records import SignedPeerRecord, decode_record, sign_record
from codexdht.store.backend import Backend, Table
from codexdht.store.buffer import WriteBuffer
from codexdht.store.lmdb_backend import Submit, do_here, open_lmdb
from codexdht.store.machine import StoreMachine
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.settings import StoreSettings

UNIX = 1_800_000_000
ADDRESS = b"\x04\x01\x02\x03\x04\x06\x1f\x9a"
HOST = "93.184.216.34"


class Driver:
    """`now` starts at 1000 and Unix time at 1,800,000,000. Peers and keys are named by small numbers."""

    keys: ClassVar = [PrivateKey(keccak256(b"peer %d" % n)) for n in range(40)]

    def __init__(self, path: Path | None, **settings: Any) -> None:
        self.path = path
        self.settings = StoreSettings(**settings)
        self.memory = MemoryBackend()
        self.submit: Submit = do_here
        self.now = 1000.0
        self.offset = UNIX - 1000.0
        self._records: dict[tuple[int, int], SignedPeerRecord] = {}
        self.start()

    @property
    def unix(self) -> float:
        return self.now + self.offset

    def start(self, **settings: Any) -> None:
        """Open the store, also after `stop` or `crash`."""
        if settings:
            self.settings = StoreSettings(**settings)
        self.backend: Backend = self.memory
        if self.path is not None:
            self.backend = WriteBuffer(open_lmdb(self.path, self.settings, self.submit))
        self.machine = StoreMachine(self.backend, self.settings, random.Random(1))
        self.machine.handle(ClockSet(self.offset), self.now)

    def stop(self) -> None:
        self.machine.stop(self.now)

    def crash(self) -> None:
        """Lose what was not committed, as the death of the process does."""
        self.backend.close()

    def record(self, peer: int, seq: int = 1) -> SignedPeerRecord:
        if (peer, seq) not in self._records:
            self._records[peer, seq] = sign_record(self.keys[peer], seq, [ADDRESS])
        return self._records[peer, seq]

    @staticmethod
    def key(number: int) -> bytes:
        return keccak256(b"key %d" % number)

    def peer_of(self, encoded: bytes) -> tuple[int, int]:
        """Return (peer, seq) of an encoded record."""
        record = decode_record(encoded)
        return next(n for n, k in enumerate(self.keys) if k.public_key == record.public_key), record.seq

    # Peers

    def request(self, kind: int, body: bytes, node_id: bytes = bytes(32), host: str = HOST) -> list[Any]:
        """Hand in a peer's request; return what is sent to the wire."""
        deadline = self.now + 1
        self.machine.handle(
            PeerRequest(node_id, host, 9000, b"12345678", kind, body, False, deadline), self.now
        )
        return self.sent(Actor.WIRE)

    def add_record(
        self, key: bytes, encoded: bytes, sender: bytes, host: str = HOST, settle: bool = True
    ) -> None:
        body = discv5.encode_add_provider(discv5.AddProvider(key, encoded))
        assert self.request(Kind.ADD_PROVIDER, body, sender, host) == []
        if settle:
            self.settle()

    def add(self, key: int, peer: int, seq: int = 1, host: str = HOST, settle: bool = True) -> None:
        """ADD_PROVIDER by the peer itself."""
        record = self.record(peer, seq)
        self.add_record(self.key(key), record.encoded, record.node_id, host, settle)

    def get_reply(self, key: int) -> PeerReply:
        [reply] = self.request(Kind.GET_PROVIDERS, discv5.encode_get_providers(self.key(key)))
        assert isinstance(reply, PeerReply)
        return reply

    def get(self, key: int) -> list[tuple[int, int]]:
        """GET_PROVIDERS: (peer, seq) in the order of the answer."""
        bodies = self.get_reply(key).bodies
        return [self.peer_of(r) for body in bodies for r in discv5.decode_records(body).records]

    # The node's own actors

    def ask(self, message: Any) -> Done | Failed:
        """Hand in a request of the API actor; return its answer once it is there."""
        self.machine.handle(replace(message, asker=Actor.API, request=77, deadline=self.now + 60), self.now)
        for _ in range(10_000):
            self.machine.tick(self.now)
            answers = self.sent(Actor.API)
            if answers:
                [answer] = answers
                assert answer.request == 77
                return answer
        raise AssertionError("no answer")

    def done(self, message: Any) -> Any:
        answer = self.ask(message)
        assert isinstance(answer, Done), answer
        return answer.value

    def put(self, keys: list[int], peer: int, seq: int = 1) -> Done | Failed:
        encoded = self.record(peer, seq).encoded
        return self.ask(PutProvider(0, 0, 0, [self.key(k) for k in keys], encoded))

    def local(self, key: int, limit: int = 0) -> list[tuple[int, int]]:
        records = self.done(GetProviders(0, 0, 0, self.key(key), limit))
        return [self.peer_of(r) for r in records]

    def remove(self, peer: int) -> int:
        removed: int = self.done(RemoveProviders(0, 0, 0, self.keys[peer].public_key))["removed"]
        return removed

    def stats(self) -> dict[str, Any]:
        return dict(self.done(Stats(0, 0, 0)))

    def gauge(self, name: str) -> float:
        return float(self.stats()["gauges"][name])

    def rows(self) -> int:
        """Return how many entries there are, whether anybody sees them or not."""
        return self.backend.count(Table.ENTRIES)

    def count(self, name: str) -> int:
        return self.machine.counters[name]

    # Time

    def sent(self, to: Actor) -> list[Any]:
        """Return and forget what was sent to an actor; what goes to others is forgotten."""
        return next((messages for actor, messages in self.machine.outbox.take() if actor is to), [])

    def events(self) -> list[str]:
        """Return and forget the names of logged events."""
        names = [event.event for event in self.machine.outbox.events]
        self.machine.outbox.events.clear()
        return names

    def settle(self) -> None:
        """Let the machine do everything that is due."""
        self.machine.tick(self.now)
        for _ in range(10_000):
            deadline = self.machine.deadline()
            if deadline is None or deadline > self.now:
                return
            self.machine.tick(self.now)
        raise AssertionError("the machine is never done")

    def wait(self, seconds: float) -> None:
        """Let time pass; system clock and monotonic clock agree."""
        self.now += seconds
        self.settle()

    def step_clock(self, seconds: float) -> None:
        """Set the system clock ahead or back."""
        self.offset += seconds
        self.machine.handle(ClockSet(self.offset), self.now)
        self.settle()


MakeStore = Callable[..., Driver]


@pytest.fixture
def store_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="store-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["lmdb", "memory"])
def make_store(request: pytest.FixtureRequest, store_dir: Path) -> Iterator[MakeStore]:
    """Makes stores on the backend under test; every test with it runs on both."""
    made: list[Driver] = []

    def make(**settings: Any) -> Driver:
        path = store_dir / str(len(made)) if request.param == "lmdb" else None
        made.append(Driver(path, **settings))
        return made[-1]

    yield make
    for driver in made:
        driver.backend.close()


@pytest.fixture
def make_disk_store(store_dir: Path) -> Iterator[MakeStore]:
    """Makes stores on LMDB."""
    made: list[Driver] = []

    def make(**settings: Any) -> Driver:
        made.append(Driver(store_dir / str(len(made)), **settings))
        return made[-1]

    yield make
    for driver in made:
        driver.backend.close()


@pytest.fixture
def file_size_limit() -> Iterator[Any]:
    """Lets files of this process grow no further, as a full disk does; lifted at the end."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before if size is None else (size, before[1]))

    yield limit
    limit(None)
