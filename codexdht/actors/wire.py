"""The wire actor's process, or one of several: key, local state, UDP sockets."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from codexdht.actors.keyfile import load_or_create_key
from codexdht.actors.place import Place
from codexdht.actors.reactor import Port, Reactor
from codexdht.actors.udp import OwnSockets, Sockets, UdpPort, save_state
from codexdht.config import PROCESSES_VARIABLE, Config
from codexdht.entropy import SystemEntropy
from codexdht.errors import ConfigError, DecodeError, StartupError
from codexdht.messages.machine import Machine
from codexdht.wire.local import LocalState, decode_state
from codexdht.wire.machine import WireMachine
from codexdht.wire.talk import TalkHandler

STATE_FILE = "wire.state"


def shell(
    config: Config,
    context: zmq.Context[Any],  # noqa: ARG001
    place: Place,
) -> tuple[Machine, Callable[[Reactor], None]]:
    """Make the wire machine and give its reactor the UDP sockets."""
    _check_processes(place)
    machine = _machine(config, place, config.data_dir / STATE_FILE)
    for protocol, name in config.talk.handlers.items():
        machine.register_talk(protocol.encode(), _load_handler(protocol, name))

    def attach(reactor: Reactor) -> None:
        source, sharing = _sockets(config, place, reactor)
        port = UdpPort(
            machine,
            source,
            reactor.poller,
            must_bind=config.node.autostart,
            send_together=config.wire.send_together,
        )
        reactor.ports += [port, *sharing]  # in the order in which they are closed

    return machine, attach


def _check_processes(place: Place) -> None:
    """Raise ConfigError where the configuration names another number of processes than supervisord was told, or no such
    process as this."""
    if place.number >= place.processes:
        raise ConfigError(f"wire.processes: found {place.processes}, expected more than {place.number}")
    told = os.environ.get(PROCESSES_VARIABLE, "1")
    if "SUPERVISOR_ENABLED" in os.environ and told != str(place.processes):
        raise ConfigError(
            f"wire.processes: found {place.processes}, but supervisord runs {told}; start it with "
            f"{PROCESSES_VARIABLE}={place.processes} in its environment, or by `codexdht up`"
        )


def _machine(config: Config, place: Place, state_file: Path) -> WireMachine:
    entropy = SystemEntropy()
    key = load_or_create_key(config.key_file, entropy)
    if place.number == 0:
        state = _load_state(state_file)
        return WireMachine(key, state, config.wire, entropy, save=partial(save_state, state_file))
    from codexdht.wire.following import FollowingWireMachine

    return FollowingWireMachine(key, LocalState(), config.wire, entropy)


def _sockets(config: Config, place: Place, reactor: Reactor) -> tuple[Sockets, list[Port]]:
    """Return where the sockets come from, and the port through which other processes get theirs, if there are any."""
    if place.processes == 1:
        return OwnSockets(config.listen), []
    from codexdht.actors.sharing import SharedSockets

    shared = SharedSockets(place, config.listen, config.run_dir, reactor.poller)
    return shared, [shared]


def _load_handler(protocol: str, name: str) -> TalkHandler:
    """Import a handler. Raises ConfigError where there is none of that name."""
    module, _, function = name.partition(":")
    try:
        handler: TalkHandler = getattr(importlib.import_module(module), function)
        if not callable(handler):
            raise TypeError("it cannot be called")
    except Exception as error:  # noqa: BLE001 - the module is not ours: it may raise anything
        problem = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"talk.handlers: {protocol} = {name!r}: {' '.join(problem.split())}; expected module:function"
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
