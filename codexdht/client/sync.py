"""The blocking client."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

import zmq

from codexdht.client import calls
from codexdht.client.protocol import (
    DEFAULT_TIMEOUT,
    GRACE,
    Added,
    AddedMany,
    Call,
    KeyLike,
    Kind,
    NamedKey,
    Nodes,
    NodeStats,
    Pong,
    Providers,
    Record,
    RecordLike,
    TableEntry,
    check_seconds,
    default_endpoint,
)
from codexdht.client.sockets import EVENTS, CurveKeys, connect, is_connected_event, no_node
from codexdht.errors import InvalidParams, NotRunning, RequestTimeout

T = TypeVar("T")


class _Connection:
    """One REQ socket with its monitor. After anything but a reply it is thrown away: a request that still waits in it
    must not reach a node that starts later."""

    def __init__(self, context: zmq.Context[Any], endpoint: str, curve: CurveKeys | None) -> None:
        self._socket = context.socket(zmq.REQ)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self.is_connected = False
        try:
            connect(self._socket, endpoint, curve)
        except InvalidParams:
            self.close()
            raise

    def send(self, request: bytes) -> None:
        self._socket.send(request)

    def wait(self, seconds: float) -> None:
        """Wait for a reply or news of the connection."""
        zmq.zmq_poll(
            [(self._socket, zmq.POLLIN), (self._monitor, zmq.POLLIN)], max(0, int(seconds * 1000)) + 1
        )

    def is_lost(self) -> bool:
        """Take the news of the connection; tell whether one was lost, also where there is another by now."""
        lost = False
        while self._monitor.poll(0):
            was_connected = self.is_connected
            self.is_connected = is_connected_event(self._monitor.recv_multipart())
            lost = lost or (was_connected and not self.is_connected)
        return lost

    def reply(self) -> bytes | None:
        return self._socket.recv() if self._socket.poll(0) else None

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)


class Client:
    """Calls of a node's API, one at a time.

    Threads may share a client, and then wait for each other; give each its own where they should not. A process that is
    forked off gets a connection of its own. A request whose
    connection breaks (the process at the other end was restarted) is sent again, for as long as its time lasts: every
    call but `talk` may be repeated without harm.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
        curve: CurveKeys | None = None,
    ) -> None:
        """endpoint: default as `default_endpoint`. timeout: seconds of calls that name none, at most 60.
        connect_timeout: seconds without any node there, at the start of a call or after it was lost, after which the
        call is given up; default as long as the call."""
        self.endpoint = endpoint or default_endpoint()
        self._timeout = check_seconds("timeout", timeout)
        if connect_timeout is not None:
            check_seconds("connect_timeout", connect_timeout)
        self._connect_timeout = connect_timeout
        self._curve = curve
        self._begin()

    def _begin(self) -> None:
        """Start without a connection. In a process that was forked off this also leaves the old one alone: it belongs
        to the parent, as may the lock."""
        self._lock = threading.Lock()
        self._connection: _Connection | None = None
        self._process = os.getpid()

    def open(self, *, timeout: float | None = None) -> None:
        """Bind the UDP socket; the local record exists from then on."""
        self._call(calls.open_node(), timeout)

    def start(self, *, timeout: float | None = None) -> None:
        """Bootstrap and begin maintenance. Raises NotRunning before `open`."""
        self._call(calls.start(), timeout)

    def close_wait(self, *, timeout: float | None = None) -> None:
        """Return when the UDP socket is closed and the store is flushed. The processes go on; `open` opens again."""
        self._call(calls.close_wait(), timeout)

    def update_record(
        self,
        record: RecordLike | None = None,
        *,
        addresses: Iterable[str] | None = None,
        kind: Kind = "dht",
        timeout: float | None = None,
    ) -> Record:
        """Replace the local record of a kind by a given one of the same key, or by a new one of some multiaddresses."""
        return self._call(calls.update_record(record, addresses, kind), timeout)

    @overload
    def record(self, kind: Literal["dht"] = "dht", *, timeout: float | None = None) -> Record: ...

    @overload
    def record(self, kind: Literal["provider"], *, timeout: float | None = None) -> Record | None: ...

    def record(self, kind: Kind = "dht", *, timeout: float | None = None) -> Record | None:
        """Return the local record. The provider record is None until it is set."""
        return self._call(calls.record(kind), timeout)

    def add_provider(
        self,
        key: KeyLike | None = None,
        *,
        record: RecordLike | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Added:
        """Publish that this node (or whom `record` names) provides what the key stands for."""
        return self._call(calls.add_provider(key, named, record), timeout)

    def add_providers(
        self, keys: Iterable[KeyLike], *, record: RecordLike | None = None, timeout: float | None = None
    ) -> AddedMany:
        """The same for up to 2,000 keys at once; neighbouring keys share lookups."""
        return self._call(calls.add_providers(keys, record), timeout)

    def get_providers(
        self,
        key: KeyLike | None = None,
        *,
        limit: int | None = None,
        own: bool = False,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Providers:
        """Find providers on the network and in the local store; this node itself is left out unless `own` is set."""
        return self._call(calls.get_providers(key, named, limit, own=own), timeout)

    def get_providers_local(
        self,
        key: KeyLike | None = None,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Providers:
        """Return the providers in the local store."""
        return self._call(calls.get_providers(key, named, limit, local=True), timeout)

    def remove_providers_local(self, peer_id: str | bytes, *, timeout: float | None = None) -> int:
        """Forget all provider records of a peer in the local store; returns how many there were."""
        return self._call(calls.remove_providers_local(peer_id), timeout).removed

    def withdraw(self, keys: Iterable[KeyLike], *, timeout: float | None = None) -> None:
        """Publish these keys no longer. Other nodes forget them when their lifetime ends."""
        self._call(calls.withdraw(keys), timeout)

    def resolve(
        self,
        key: KeyLike | None = None,
        *,
        peer_id: str | bytes | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Record | None:
        """Find the record of a node by its id or its peer id; None when nobody knows it."""
        return self._call(calls.resolve(key, named, peer_id), timeout)

    def ping(self, node: Record | KeyLike, *, timeout: float | None = None) -> Pong:
        """Ping the node of a record (or its spr:… text), or of an id that is resolved first."""
        return self._call(calls.ping(node), timeout)

    def lookup(
        self, key: KeyLike | None = None, *, timeout: float | None = None, **named: Unpack[NamedKey]
    ) -> Nodes:
        """Find the nodes nearest to a key."""
        return self._call(calls.lookup(key, named), timeout)

    def talk(
        self, node: Record | KeyLike, protocol: bytes, request: bytes, *, timeout: float | None = None
    ) -> bytes:
        """Send a TALK_REQ to a node, named as for `ping`; returns the response, empty if none handles it."""
        return self._call(calls.talk(node, protocol, request), timeout)

    def table(self, *, timeout: float | None = None) -> list[TableEntry]:
        """Return the routing table."""
        return self._call(calls.table(), timeout)

    def stats(self, *, timeout: float | None = None) -> NodeStats:
        """Return the life of the node, and counters and gauges of its actors."""
        return self._call(calls.stats(), timeout)

    def close(self) -> None:
        """Close the connection; the next call would open another."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, call: Call[T], timeout: float | None) -> T:
        seconds = self._timeout if timeout is None else timeout
        request = call.pack(seconds)
        begun = time.monotonic()
        if self._process != os.getpid():
            self._begin()
        if not self._lock.acquire(timeout=seconds + GRACE):
            raise RequestTimeout(f"{call.method} waited {seconds:g} s for the calls of other threads")
        try:
            with ExitStack() as unless_answered:
                unless_answered.callback(self._drop)
                reply = self._exchange(call, request, begun, seconds)
                unless_answered.pop_all()
        finally:
            self._lock.release()
        return call.unpack(reply)

    def _exchange(self, call: Call[Any], request: bytes, begun: float, seconds: float) -> bytes:
        """Send a request and return its reply. Raises NotRunning and RequestTimeout."""
        end = begun + seconds + GRACE
        connection = self._connected()
        connection.is_lost()
        connection.send(request)
        connected_by = self._connected_by(seconds, end)
        while (now := time.monotonic()) < end:
            connection.wait((end if connection.is_connected else connected_by) - now)
            lost = connection.is_lost()
            reply = connection.reply()
            if reply is not None:
                return reply
            if lost and not call.repeatable:
                raise RequestTimeout(f"the node stopped before it answered {call.method}")
            if lost:
                self._drop()
                connection = self._connected()
                connection.send(request)
                connected_by = self._connected_by(seconds, end)
            elif not connection.is_connected and time.monotonic() >= connected_by:
                raise NotRunning(no_node(self.endpoint, self._curve))
        raise RequestTimeout(f"the node at {self.endpoint} did not answer {call.method} within {seconds:g} s")

    def _connected_by(self, seconds: float, end: float) -> float:
        """Return when to give up if no node is there by then, from now on, in a call of `seconds` until `end`."""
        patience = seconds if self._connect_timeout is None else self._connect_timeout
        return min(time.monotonic() + patience, end)

    def _connected(self) -> _Connection:
        if self._connection is None:
            self._connection = _Connection(zmq.Context.instance(), self.endpoint, self._curve)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
