"""The routing actor's process: it owns nothing but its machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

from codexdht.actors.keyfile import load_or_create_key
from codexdht.actors.place import Place
from codexdht.actors.reactor import Reactor
from codexdht.config import Config
from codexdht.entropy import SystemEntropy
from codexdht.identity import node_id_of_public_key
from codexdht.messages.machine import Machine
from codexdht.records import RecordCache
from codexdht.routing.machine import RoutingMachine


def shell(
    config: Config,
    context: zmq.Context[Any],  # noqa: ARG001
    place: Place,  # noqa: ARG001
) -> tuple[Machine, Callable[[Reactor], None]]:
    """Make the routing machine. Of the key it needs the node id alone."""
    entropy = SystemEntropy()
    node_id = node_id_of_public_key(load_or_create_key(config.key_file, entropy).public_key)
    records = RecordCache(config.routing.record_cache, config.ip_versions)
    machine = RoutingMachine(node_id, config.routing, entropy, config.bootstrap, records=records)
    return machine, lambda _: None
