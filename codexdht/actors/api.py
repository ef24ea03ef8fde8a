"""The API actor's process: the user's sockets, and the watch over whoever owns the node."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from codexdht import __version__
from codexdht.actors.log import fields
from codexdht.actors.place import Place
from codexdht.actors.reactor import Reactor
from codexdht.actors.rundir import is_alive
from codexdht.actors.users import UsersPort
from codexdht.api.machine import ApiMachine
from codexdht.api.settings import is_loopback
from codexdht.config import Config
from codexdht.errors import ConfigError
from codexdht.messages.machine import Machine

log = logging.getLogger(__name__)

_OWNER = "CODEXDHT_OWNER_PID"


def shell(
    config: Config,
    context: zmq.Context[Any],
    place: Place,
) -> tuple[Machine, Callable[[Reactor], None]]:
    """Make the API machine and give its reactor the user's sockets."""
    endpoints = config.api.endpoints or [f"ipc://{config.run_dir}/api.sock"]
    server_key = _server_key(config, endpoints)
    machine = ApiMachine(
        config.api,
        autostart=config.node.autostart,
        info=_info(config),
        wire_processes=place.processes,
    )

    def attach(reactor: Reactor) -> None:
        if server_key is not None:
            from codexdht.actors.users import CurvePort

            reactor.ports.append(CurvePort(context, Path(config.api.curve_clients), reactor.poller))
        reactor.ports.append(UsersPort(context, machine, endpoints, reactor.poller, server_key))
        _watch_owner(reactor)

    return machine, attach


def _info(config: Config) -> dict[str, str | int]:
    """What `stats` says of the processes, beside what the actors count."""
    return {
        "version": __version__,
        "data_dir": str(config.data_dir),
        "supervisor_pid": os.getppid(),
        "api_pid": os.getpid(),
    }


def _server_key(config: Config, endpoints: list[str]) -> tuple[bytes, bytes] | None:
    """Return the CURVE key pair; raise ConfigError where an endpoint is open to other machines without one."""
    open_ones = [e for e in endpoints if e.startswith("tcp://") and not is_loopback(e)]
    if not config.api.curve_server_key:
        if open_ones:
            raise ConfigError(
                f"api.endpoints: {open_ones[0]!r} is reachable from other machines; set api.curve_server_key and "
                "api.curve_clients, or listen on tcp://127.0.0.1:…"
            )
        return None
    if not config.api.curve_clients:
        raise ConfigError(
            "api.curve_clients: expected the folder with the public keys of the clients to let in"
        )
    from zmq.auth import load_certificate

    try:
        public, secret = load_certificate(config.api.curve_server_key)
    except (OSError, ValueError) as error:
        raise ConfigError(f"api.curve_server_key: {error}") from None
    if secret is None:
        raise ConfigError(
            f"api.curve_server_key: {config.api.curve_server_key} holds no secret key (*.key_secret)"
        )
    return public, secret


def _watch_owner(reactor: Reactor) -> None:
    """End the whole node when the process that made it is gone (`new_protocol`)."""
    owner = int(os.environ.get(_OWNER, "0"))
    if not owner:
        return

    def owner_is_gone() -> bool:
        if is_alive(owner):
            return False
        log.warning("owner is gone; stopping the node", extra=fields(pid=owner))
        os.kill(os.getppid(), signal.SIGTERM)
        return True

    reactor.watch(owner_is_gone)
