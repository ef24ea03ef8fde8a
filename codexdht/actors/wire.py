"""The wire actor's process: key, local state, UDP sockets."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from codexdht.actors.keyfile import load_or_create_key
from codexdht.actors.reactor import Reactor
from codexdht.actors.udp import UdpPort
from codexdht.config import Config
from codexdht.entropy import SystemEntropy
from codexdht.errors import ConfigError, DecodeError, StartupError
from codexdht.messages.machine import Machine
from codexdht.wire.local import LocalState, decode_state
from codexdht.wire.machine import WireMachine
from codexdht.wire.talk import TalkHandler

STATE_FILE = "wire.state"


def shell(config: Config, context: zmq.Context[Any]) -> tuple[Machine, Callable[[Reactor], None]]:  # noqa: ARG001
    """Make the wire machine and give its reactor the UDP sockets."""
    entropy = SystemEntropy()
    key = load_or_create_key(config.key_file, entropy)
    state_file = config.data_dir / STATE_FILE
    machine = WireMachine(key, _load_state(state_file), config.wire, entropy)

    for protocol, name in config.talk.handlers.items():
        machine.register_talk(protocol.encode(), _load_handler(protocol, name))

    def attach(reactor: Reactor) -> None:
        port = UdpPort(machine, config.listen, state_file, reactor.poller, must_bind=config.node.autostart)
        reactor.ports.append(port)

    return machine, attach


def _load_handler(protocol: str, name: str) -> TalkHandler:
    """Import a handler. Raises ConfigError where there is none of that name."""
    module, _, function = name.partition(":")
    try:
        handler: TalkHandler = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"talk.handlers: {protocol} = {name!r}: {error}; expected module:function"
        ) from None
    return handler


def _load_state(path: Path) -> LocalState:
    """Return what the last run left. Raises StartupError where that cannot be read: a record of a lower seq than
    the last would be ignored by everyone who has seen that."""
    try:
        return decode_state(path.read_bytes())
    except FileNotFoundError:
        return LocalState()
    except (OSError, DecodeError) as error:
        raise StartupError(
            f"{path}: the last records cannot be read ({error}); restore it, or remove it"
        ) from None
