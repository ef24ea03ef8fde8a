"""The user's ROUTER sockets of the API actor, and CURVE on those that are reachable from other machines."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
from pathlib import Path
from typing import Any, Final

import zmq

from codexdht.actors.frames import receive_frames, send_frames
from codexdht.actors.log import fields
from codexdht.api.machine import ApiMachine
from codexdht.api.settings import LARGEST_REQUEST
from codexdht.errors import ConfigError, StartupError

log = logging.getLogger(__name__)

_DRAIN: Final = 64
_CURVE_ADDS: Final = 1024
_UNREAD: Final = 10_000
"""Replies that wait for one client to read them."""
_MOST_OPEN: Final = 65_536


class UsersPort:
    """Receives requests and sends replies.

    An envelope is the frames up to the empty delimiter, led by the number of the socket that the request came from.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        machine: ApiMachine,
        endpoints: list[str],
        poller: zmq.Poller,
        server_key: tuple[bytes, bytes] | None,
    ) -> None:
        """Bind all endpoints; with a server key (public, secret) tcp ones speak CURVE. Raises StartupError."""
        _raise_descriptor_limit()
        self._machine = machine
        with contextlib.ExitStack() as undo:
            self._sockets = [
                undo.enter_context(_bind(context, endpoint, server_key)) for endpoint in endpoints
            ]
            undo.pop_all()
        paths = [_path_of(endpoint) for endpoint in endpoints]
        self._files = {path: path.stat().st_ino for path in paths if path is not None}
        for sock in self._sockets:
            poller.register(sock, zmq.POLLIN)

    def drain(self, now: float) -> bool:
        """Give the machine up to 64 requests of each socket."""
        more = False
        for number, sock in enumerate(self._sockets):
            for _ in range(_DRAIN):
                frames = receive_frames(sock)
                if frames is None:
                    break
                self._receive(number, frames, now)
            else:
                more = True
        return more

    def _receive(self, number: int, frames: list[bytes], now: float) -> None:
        """Split a request at its delimiter. Without one (a bare DEALER) the reply goes back without one, too."""
        socket_frame = bytes((number,))
        try:
            split = frames.index(b"", 1) + 1
        except ValueError:
            split = 1
        self._machine.receive_request((socket_frame, *frames[:split]), frames[split:], now)

    def flush(self, now: float) -> None:  # noqa: ARG002
        """Send the replies; one whose client is gone, or does not read, is dropped and counted."""
        replies = self._machine.replies
        for (number, *frames), reply in replies:
            try:
                send_frames(self._sockets[number[0]], [*frames, reply])
            except zmq.ZMQError:
                self._machine.counters["reply_undeliverable"] += 1
        replies.clear()

    def close(self) -> None:
        """Close the sockets and remove files that are still theirs; replies sent last have a moment to leave."""
        for sock in self._sockets:
            sock.close()
        for path, inode in self._files.items():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == inode:
                    path.unlink()


def _raise_descriptor_limit() -> None:
    """Let as many clients connect as this process may open descriptors for, 65,536 at most: the usual limit of 1,024 is
    soft. One client too many at an ipc endpoint, and libzmq aborts the process: it accepts by itself, faster than its
    monitor can be followed, and to unbind would close the other clients' connections, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_OPEN if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _bind(
    context: zmq.Context[Any], endpoint: str, server_key: tuple[bytes, bytes] | None
) -> zmq.Socket[bytes]:
    sock: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    sock.set(zmq.LINGER, 500)
    sock.set(zmq.ROUTER_MANDATORY, 1)
    sock.set(zmq.SNDHWM, _UNREAD)
    sock.set(zmq.MAXMSGSIZE, LARGEST_REQUEST + _CURVE_ADDS)
    if server_key is not None and endpoint.startswith("tcp://"):
        sock.set(zmq.CURVE_SERVER, 1)
        sock.set(zmq.CURVE_PUBLICKEY, server_key[0])
        sock.set(zmq.CURVE_SECRETKEY, server_key[1])
    if ":::" in endpoint or "[" in endpoint:
        sock.set(zmq.IPV6, 1)
    try:
        _check_free(endpoint)
        sock.bind(endpoint)
    except (OSError, zmq.ZMQError) as error:
        sock.close()
        raise StartupError(
            f"cannot bind api endpoint {endpoint}: {error.strerror}; change api.endpoints"
        ) from None
    log.info("listening", extra=fields(endpoint=sock.get_string(zmq.LAST_ENDPOINT)))
    return sock


def _path_of(endpoint: str) -> Path | None:
    """Return the file of an ipc endpoint; None where there is none of ours: tcp, an abstract name (@), a free one (*),
    whose file ZeroMQ removes with the folder that it has made for it."""
    transport, _, name = endpoint.partition("://")
    return Path(name) if transport == "ipc" and name[:1] not in ("*", "@") else None


def _check_free(endpoint: str) -> None:
    """Raise OSError unless an ipc endpoint's path is free, or a socket that a process has left behind: ZeroMQ would put
    its own in the place of whatever is there."""
    path = _path_of(endpoint)
    if path is None or not os.path.lexists(path):
        return
    if not path.is_socket():
        raise FileExistsError(errno.EEXIST, "something is there that is no socket")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        found = asking.connect_ex(str(path))
    if found not in (errno.ECONNREFUSED, errno.ENOENT):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


class CurvePort:
    """Answers ZeroMQ's question whether a client's CURVE key is allowed (RFC 27), inside the reactor's loop."""

    def __init__(self, context: zmq.Context[Any], clients_dir: Path, poller: zmq.Poller) -> None:
        """Allow the public keys (`*.key` files as `zmq.auth` writes them) in a directory. Raises ConfigError."""
        _check_clients(clients_dir)
        from zmq.auth.base import Authenticator  # with CURVE alone: it costs 2 MB

        self._authenticator = Authenticator(context)
        self._authenticator.start()
        self._authenticator.configure_curve(domain="*", location=str(clients_dir))
        self._socket = self._authenticator.zap_socket
        poller.register(self._socket, zmq.POLLIN)

    def drain(self, now: float) -> bool:  # noqa: ARG002
        """Answer what was asked. The authenticator's coroutine never suspends: all it does is in memory."""
        assert self._socket is not None
        while self._socket.poll(0):
            request = self._authenticator.handle_zap_message(self._socket.recv_multipart())
            try:
                request.send(None)
            except StopIteration:
                continue
        return False

    def flush(self, now: float) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Close the authenticator's socket."""
        self._authenticator.stop()


def _check_clients(clients_dir: Path) -> None:
    """Raise ConfigError for a file that holds no key: for its sake ZeroMQ would let in nobody, and not say so."""
    from zmq.auth import load_certificate

    files = sorted(clients_dir.glob("*.key"))
    if not files:
        raise ConfigError(f"api.curve_clients: {clients_dir} holds no public key (*.key) of a client")
    for file in files:
        try:
            load_certificate(file)
        except (OSError, ValueError):
            raise ConfigError(
                f"api.curve_clients: {file} is not a CURVE key file that can be read; mend or remove it"
            ) from None
