"""ZeroMQ sockets of the clients, and the monitor that tells whether anybody is at the other end."""

from __future__ import annotations

import os
from typing import Any, Final, NamedTuple

import zmq

from codexdht.errors import InvalidParams

_RECONNECT_MS: Final = 20
_RECONNECT_MAX_MS: Final = 200
EVENTS: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
"""What monitors report: a node is there, and it is gone."""


class CurveKeys(NamedTuple):
    """What a client needs for a tcp:// endpoint of another machine: the node's public key, and its own pair (40 Z85
    characters each, as `zmq.auth.load_certificate` reads them from a file)."""

    server: bytes
    public: bytes
    secret: bytes


def connect(sock: zmq.Socket[Any], endpoint: str, curve: CurveKeys | None) -> None:
    """Set a socket up and connect it; nothing is sent yet, and nobody need be there.

    Raises InvalidParams for a bad endpoint or a bad key.
    """
    if not isinstance(endpoint, str):
        raise InvalidParams(f"an endpoint is text such as ipc:///path or tcp://host:port, not {endpoint!r}")
    sock.set(zmq.LINGER, 0)
    sock.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
    sock.set(zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS)
    if "[" in endpoint:
        sock.set(zmq.IPV6, 1)
    if curve is not None:
        _set_keys(sock, curve)
    try:
        sock.connect(endpoint)
    except (zmq.ZMQError, ValueError) as error:
        raise InvalidParams(
            f"{endpoint!r} is not an endpoint such as ipc:///path or tcp://host:port: {error}"
        ) from None


def _set_keys(sock: zmq.Socket[Any], curve: CurveKeys) -> None:
    try:
        sock.set(zmq.CURVE_SERVERKEY, curve.server)
        sock.set(zmq.CURVE_PUBLICKEY, curve.public)
        sock.set(zmq.CURVE_SECRETKEY, curve.secret)
    except (zmq.ZMQError, AttributeError, TypeError):
        raise InvalidParams("a CURVE key has 40 Z85 characters (or 32 bytes); these do not") from None


def is_connected_event(message: list[bytes]) -> bool:
    """Tell whether a monitor's message says that a node is there; otherwise it says that it is gone."""
    return int.from_bytes(message[0][:2], "little") == zmq.EVENT_HANDSHAKE_SUCCEEDED


def no_node(endpoint: str, curve: CurveKeys | None) -> str:
    """Return what to say when nobody answers."""
    if curve is not None:
        return f"no node answers at {endpoint}, or it is another one, or it does not know this client's key"
    if _is_closed(endpoint):
        return f"{endpoint} is closed to this user; ask as the user that the node runs as"
    return f"no node answers at {endpoint}; `codexdht up` starts one"


def _is_closed(endpoint: str) -> bool:
    """Tell whether an ipc endpoint is in a directory that this user cannot enter, as a node's run directory is."""
    try:
        os.stat(endpoint.removeprefix("ipc://"))
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return False
