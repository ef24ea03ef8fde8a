"""The sockets of several wire processes on one UDP port, kept alive by all of them together.

The kernel numbers the sockets of a SO_REUSEPORT group in the order of their binding, and renumbers them when one is
closed. So one process, the first, binds them all, in order, and hands every other process a copy of all: a socket
lives on, keeps its number and its queue, when its process dies, and the process that takes its place gets it back
from any of the others. Only when all have ended are new ones bound.

Copies travel over a UNIX socket in the run directory, the door of each process that holds them, behind a line that says
what they are bound to: sockets of another configuration are not taken. Who has a door but does not answer in time holds
the sockets, so nobody binds the port then: it would be in use. Who holds none has no door, so that processes that start
at the same time do not wait for each other.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from pathlib import Path
from typing import Final

import zmq

from codexdht.actors.place import Place
from codexdht.actors.steering import steer
from codexdht.actors.udp import bind_udp
from codexdht.errors import StartupError
from codexdht.messages.internal import Actor, process_name
from codexdht.records import Endpoint

_ASK_SECONDS: Final = 0.2
_PAUSE: Final = 0.01
_MAX_SOCKETS: Final = 64
_MAX_LINE: Final = 4096

log = logging.getLogger(__name__)


class SharedSockets:
    """The sockets of all wire processes as one of them holds them; a port of its reactor.

    Invariant: `_groups` is empty and `_door` None, or `_groups` holds for every listen address the sockets of all
    processes in the order of their numbers, and `_door` is open.
    """

    def __init__(self, place: Place, listen: list[Endpoint], run_dir: Path, poller: zmq.Poller) -> None:
        self._place = place
        self._poller = poller
        self._listen = listen
        self._line = f"{place.processes} {listen}".encode()
        self._paths = [
            run_dir / f"{process_name(Actor.WIRE, number)}.sockets" for number in range(place.processes)
        ]
        self._groups: list[list[socket.socket]] = []
        self._has_warned = False
        self._door: socket.socket | None = None

    def open(self) -> list[socket.socket]:
        """Return this process's socket of every listen address, or none while they are not to be had: the first process
        has not bound them, or whoever may hold them does not answer. Raises StartupError."""
        if not self._groups:
            self._groups = self._found()
            if self._groups:
                self._open_door()
        return [group[self._place.number] for group in self._groups]

    def release(self) -> None:
        """Close all sockets held."""
        if self._door is not None:
            self._poller.unregister(self._door.fileno())
            self._door.close()
            self._door = None
            self._paths[self._place.number].unlink(missing_ok=True)
        for group in self._groups:
            for sock in group:
                sock.close()
        self._groups = []

    def _found(self) -> list[list[socket.socket]]:
        """Return the sockets that another process holds, or new ones if it is for this process to bind them. Raises
        StartupError.

        Whoever has just taken copies has no door yet, and whoever closes has none any more, for a moment. So where the
        port is in use all are asked once more, and it is tried again, before that is believed.
        """
        start = time.monotonic()
        while True:
            groups = self._asked()
            if groups is None:
                return []
            if groups or self._place.number:
                return groups
            try:
                return self._bind()
            except StartupError:
                if time.monotonic() - start > _ASK_SECONDS:
                    raise
            time.sleep(_PAUSE)

    def _asked(self) -> list[list[socket.socket]] | None:
        """Return copies of the sockets that another process holds, [] when none does; None when one that may hold them
        does not answer."""
        is_silent = False
        for number, path in enumerate(self._paths):
            if number != self._place.number:
                groups = self._ask(path)
                if groups:
                    return groups
                is_silent = is_silent or groups is None
        if is_silent and not self._has_warned:
            log.warning(
                "another wire process does not answer; waiting for it, as it may hold the UDP sockets"
            )
        self._has_warned = is_silent
        return None if is_silent else []

    def _bind(self) -> list[list[socket.socket]]:
        with contextlib.ExitStack() as undo:
            groups = [self._bind_group(endpoint, undo) for endpoint in self._listen]
            undo.pop_all()
        return groups

    def _bind_group(self, endpoint: Endpoint, undo: contextlib.ExitStack) -> list[socket.socket]:
        # A shared port would be shared with another node, too, and nobody would notice.
        bind_udp(endpoint).close()
        group: list[socket.socket] = []
        for _ in range(self._place.processes):
            group.append(undo.enter_context(bind_udp(endpoint, shared=True)))
            endpoint = group[0].getsockname()[:2]
        steer(group[0], self._place.processes)
        return group

    # Copies ---------------------------------------------------------------------------------------------------

    def _open_door(self) -> None:
        path = self._paths[self._place.number]
        path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.setblocking(False)
        self._door.bind(str(path))
        self._door.listen()
        self._poller.register(self._door.fileno(), zmq.POLLIN)

    def _ask(self, path: Path) -> list[list[socket.socket]] | None:
        """Return copies of the sockets that the process at a path holds, [] when it holds none; None when it does not
        answer."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(_ASK_SECONDS)
            try:
                asking.connect(str(path))
                line, descriptors, _, _ = socket.recv_fds(asking, _MAX_LINE, _MAX_SOCKETS)
            except (TimeoutError, BlockingIOError):
                # A full queue, of those who asked before, is EAGAIN at once.
                return None
            except OSError:
                return []
        sockets = [_adopt(descriptor) for descriptor in descriptors]
        count = self._place.processes
        if line != self._line or len(sockets) != count * len(self._listen):
            for sock in sockets:
                sock.close()
            return []
        return [sockets[start : start + count] for start in range(0, len(sockets), count)]

    def drain(self, now: float) -> bool:  # noqa: ARG002
        """Give copies to whoever asks."""
        if self._door is None:
            return False
        with contextlib.suppress(BlockingIOError):
            asking, _ = self._door.accept()
            with asking, contextlib.suppress(OSError):  # gone before the answer
                descriptors = [sock.fileno() for group in self._groups for sock in group]
                socket.send_fds(asking, [self._line], descriptors)
        return False

    def flush(self, now: float) -> None:
        """Nothing waits to be sent."""

    def close(self) -> None:
        """Close the sockets held here; copies in other processes live on."""
        self.release()


def _adopt(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock
