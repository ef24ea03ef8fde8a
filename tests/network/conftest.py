"""Networks of real nodes on loopback: real processes, UDP, ZeroMQ and LMDB, all in one process group."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from codexdht.client import Client, Record
from codexdht.identity import PrivateKey
from codexdht.node import shipped_file, write_key

PATIENCE = 30.0
"""Seconds that a call may take on a busy machine; none takes so long by itself."""
V4 = "/ip4/127.0.0.1/udp/0"

R = TypeVar("R")


class ForkedNode:
    """A node that is open: the ids of its processes, a client of it, and its record."""

    def __init__(self, folder: Path, pids: list[int]) -> None:
        self.pids = pids
        self.client = Client(f"ipc://{folder}/run/api.sock", timeout=PATIENCE)
        self.client.open()
        self.record: Record = self.client.record()

    def meet(self, count: int) -> None:
        """Look for nodes until so many are in the table."""
        while len(self.client.table()) < count:
            self.client.lookup(self.record.node_id)

    def holds(self, key: bytes) -> bool:
        """Tell whether a provider of a key is in its own store."""
        return bool(self.client.get_providers_local(key).providers)

    def find(self, key: bytes) -> list[bytes]:
        """Return the records of a key's providers. On a busy machine all answers to one search may come too late; three
        searches in vain are no accident."""
        searches = (self.client.get_providers(key).providers for _ in range(3))
        return next(([record.spr for record in found] for found in searches if found), [])


class RealNetwork:
    """Nodes whose processes have one process group of their own, and threads to ask many of them at once."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[ForkedNode] = []
        self._folder = folder
        self._threads = ThreadPoolExecutor(32)
        self._forker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forked_nodes.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def group(self) -> int:
        """The process group of all processes."""
        return self._forker.pid

    def start(self, *listen: str, bootstrap: Sequence[Record] = ()) -> ForkedNode:
        """Start a node, whose key follows from how many there were before, and join it to the network of others."""
        number = len(self.nodes) + 1
        folder = self._folder / str(number)
        write_key(folder / "key", PrivateKey(number.to_bytes(32, "big")).secret)
        pids = self._order(
            {
                "CODEXDHT_CONFIG": str(shipped_file("config/codexdht.toml")),
                "CODEXDHT_NODE__DATA_DIR": str(folder),
                "CODEXDHT_NODE__AUTOSTART": "false",
                "CODEXDHT_LOG__DIRECTORY": str(folder / "logs"),
                "CODEXDHT_NETWORK__LISTEN": ",".join(listen or [V4]),
                "CODEXDHT_NETWORK__BOOTSTRAP": ",".join(record.uri for record in bootstrap),
            }
        )
        node = ForkedNode(folder, pids)
        self.nodes.append(node)
        node.client.start()
        return node

    def publish(self, provider: ForkedNode, key: bytes, holders: int) -> None:
        """Publish a key, and again until so many others hold it: a busy machine may be too late to store it."""
        others = [node for node in self.nodes if node is not provider]
        while sum(node.holds(key) for node in others) < holders:
            provider.client.add_provider(key)

    def kill(self, nodes: Iterable[ForkedNode]) -> None:
        """End all processes of these nodes with SIGKILL; returns when they are gone."""
        self._order([pid for node in nodes for pid in node.pids])

    def each(self, do: Callable[..., R], *arguments: Iterable[Any]) -> list[R]:
        """Call a function as `map` does, but all calls at once."""
        return list(self._threads.map(do, *arguments))

    def _order(self, order: object) -> list[int]:
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps(order) + "\n")
        self._forker.stdin.flush()
        pids: list[int] = json.loads(self._forker.stdout.readline())
        return pids

    def close(self) -> None:
        """Kill everything: the forker does at the end of its input, and then whatever may be left of the group."""
        for node in self.nodes:
            node.client.close()
        self._threads.shutdown()
        try:
            self._forker.communicate(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)
            self._forker.wait()


@pytest.fixture
def network(folder: Path) -> Iterator[RealNetwork]:
    """An empty network; its nodes end with the test, however it ends."""
    network = RealNetwork(folder)
    try:
        yield network
    finally:
        network.close()
