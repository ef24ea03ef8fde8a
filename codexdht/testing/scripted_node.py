"""A node for tests of clients: a real ROUTER socket driving a real `ApiMachine` in a thread, and behind it actors that
answer by script.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings
from codexdht.entropy import seeded
from codexdht.identity import PrivateKey
from codexdht.messages import internal
from codexdht.messages.codec import decode_batch, encode_batch
from codexdht.messages.internal import Actor, Done, Failed, Life, LocalRecords, NodeLife
from codexdht.records import SignedPeerRecord, parse_address, sign_record

SILENT = object()
"""What a script returns for an actor that does not answer."""

Script = dict[type[Any], Callable[[Any], Any]]


def record_of(number: int, *addresses: str, seq: int = 1_700_000_000) -> SignedPeerRecord:
    """A verified record of a made-up peer."""
    key = PrivateKey(bytes(30) + (number + 1).to_bytes(2, "big"))
    texts = addresses or (f"/ip4/127.0.0.1/udp/{9000 + number}",)
    return sign_record(key, seq, [parse_address(text) for text in texts])


OWN = record_of(0)
PEERS = [record_of(number) for number in range(1, 5)]


def default_script() -> Script:
    """Actors that know a little network of `PEERS`."""
    records = [peer.encoded for peer in PEERS]
    entry = {"record": records[0], "bucket": 255, "rtt": 0.012, "reliability": 0.9, "last_seen": 3.0}
    return {
        internal.Open: lambda _: OWN.encoded,
        internal.Start: lambda _: None,
        internal.Close: lambda _: None,
        internal.UpdateRecord: lambda m: m.record or record_of(0, seq=1_700_000_001).encoded,
        internal.Lookup: lambda _: {"nodes": records, "complete": True},
        internal.Resolve: lambda m: next((p.encoded for p in PEERS if p.node_id == m.node_id), None),
        internal.FindProviders: lambda m: {"providers": records[: m.limit or None], "complete": True},
        internal.Publish: lambda m: {"nodes": [4 for _ in m.keys], "complete": True},
        internal.Withdraw: lambda _: None,
        internal.PingNode: lambda _: {"seq": 7, "host": "192.0.2.1", "port": 8090, "rtt": 0.012},
        internal.Talk: lambda m: m.protocol + b":" + m.payload,
        internal.DumpTable: lambda _: [entry],
        internal.Stats: lambda _: {"counters": {"packets": 3}, "gauges": {"size": 1}},
        internal.PutProvider: lambda _: None,
        internal.GetProviders: lambda _: records[:1],
        internal.RemoveProviders: lambda _: {"removed": 2},
    }


class ScriptedActors:
    """The wire, routing and store behind an API machine. A script's answer is a value, a Failed, or SILENT."""

    def __init__(self, machine: ApiMachine, life: Life = Life.STARTED, script: Script | None = None) -> None:
        self.machine = machine
        self.life = life
        self.script = default_script() | (script or {})
        self.seen: list[Any] = []

    def settle(self, now: float) -> None:
        """Deliver what is in the machine's outbox, and the answers, until nobody has anything to say."""
        while taken := self.machine.outbox.take():
            for actor, messages in taken:
                for message in decode_batch(encode_batch(messages)):
                    self._receive(actor, message, now)

    def _receive(self, actor: Actor, message: Any, now: float) -> None:
        self.seen.append(message)
        if isinstance(message, internal.Hello):
            self.machine.handle(NodeLife(actor, self.life), now)
            if actor is Actor.WIRE:
                self.machine.handle(LocalRecords(OWN.encoded, b""), now)
        elif not isinstance(message, NodeLife):
            answer = self.script[type(message)](message)
            if isinstance(answer, Failed):
                self.machine.handle(Failed(message.request, answer.code, answer.text), now)
            elif answer is not SILENT:
                self.machine.handle(Done(message.request, answer), now)


class ScriptedNode:
    """Serves the API on an endpoint from a thread until the end of its `with` block."""

    def __init__(
        self,
        endpoint: str,
        script: Script | None = None,
        life: Life = Life.STARTED,
        settings: ApiSettings | None = None,
        configure: Callable[[zmq.Socket[bytes]], None] = lambda _: None,
    ) -> None:
        self.endpoint = endpoint
        self.machine = ApiMachine(settings or ApiSettings(), autostart=False, entropy=seeded(1))
        self.actors = ScriptedActors(self.machine, life, script)
        self._configure = configure
        self._stop = threading.Event()
        self._bound = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ScriptedNode:
        self._thread.start()
        assert self._bound.wait(5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)
        if self.endpoint.startswith("ipc://"):
            Path(self.endpoint.removeprefix("ipc://")).unlink(missing_ok=True)

    def _run(self) -> None:
        router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        with router:
            self._configure(router)
            router.bind(self.endpoint)
            self.endpoint = router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
            self._bound.set()
            self.machine.boot(time.monotonic())
            while not self._stop.is_set():
                self._turn(router)
            router.close(0)

    def _turn(self, router: zmq.Socket[bytes]) -> None:
        if router.poll(2):
            frames = router.recv_multipart()
            split = frames.index(b"", 1) + 1 if b"" in frames[1:] else 1
            self.machine.receive_request(tuple(frames[:split]), frames[split:], time.monotonic())
        now = time.monotonic()
        self.actors.settle(now)
        self.machine.tick(now)
        self.actors.settle(now)
        for envelope, reply in self.machine.replies:
            router.send_multipart([*envelope, reply])
        self.machine.replies.clear()
