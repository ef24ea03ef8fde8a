"""The store actor's process: it owns the LMDB environment, and a thread that waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from codexdht.actors.disk import DiskThread
from codexdht.actors.place import Place
from codexdht.actors.reactor import Reactor
from codexdht.actors.storecheck import check_in_child
from codexdht.config import Config
from codexdht.entropy import SystemEntropy
from codexdht.messages.machine import Machine
from codexdht.store.buffer import WriteBuffer
from codexdht.store.lmdb_backend import open_lmdb
from codexdht.store.machine import StoreMachine

STORE_DIR = "store"


def shell(
    config: Config,
    context: zmq.Context[Any],  # noqa: ARG001
    place: Place,  # noqa: ARG001
) -> tuple[Machine, Callable[[Reactor], None]]:
    """Open the store below the data directory and make its machine. Raises StoreError."""
    disk = DiskThread()
    backend = WriteBuffer(open_lmdb(config.data_dir / STORE_DIR, config.store, disk.submit, check_in_child))

    def attach(reactor: Reactor) -> None:
        disk.attach(reactor.poller)
        reactor.ports.append(disk)

    return StoreMachine(backend, config.store, SystemEntropy()), attach
