"""The client for asyncio."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Literal, TypeVar, Unpack, overload

import zmq
import zmq.asyncio

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
    """One DEALER socket that carries all calls at once, each with a number that its reply brings back.

    Invariant: `_waiting` holds the calls without a reply, with their bytes if they may be sent again; a call
    takes itself out. Two tasks live as long as the connection: one takes replies, one learns from the monitor whether
    a node is there.
    """

    def __init__(self, endpoint: str, curve: CurveKeys | None) -> None:
        context = zmq.asyncio.Context.instance()
        self._socket = context.socket(zmq.DEALER)
        # A loop that starts many calls reads late: what has come by then must find room.
        self._socket.set_hwm(0)
        self._monitor = self._socket.get_monitor_socket(EVENTS)
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, tuple[asyncio.Future[bytes], bytes | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._home = (os.getpid(), asyncio.get_running_loop())
        self.connected = asyncio.Event()
        try:
            connect(self._socket, endpoint, curve)
        except InvalidParams:
            self._close_sockets()
            raise
        self._tasks = [asyncio.create_task(self._take_replies()), asyncio.create_task(self._watch())]

    def is_here(self) -> bool:
        """Tell whether this is the connection of the running loop, in the process that made it."""
        return self._home == (os.getpid(), asyncio.get_running_loop())

    async def exchange(self, request: bytes, repeatable: bool) -> bytes:
        """Send a request and wait for its reply. Raises RequestTimeout when one that cannot be repeated is lost."""
        number = next(self._numbers).to_bytes(8, "big")
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = (future, request if repeatable else None)
        try:
            await self._socket.send_multipart((number, b"", request))
            reply: bytes = await future
            return reply
        finally:
            del self._waiting[number]

    async def _take_replies(self) -> None:
        while True:
            frames = await self._socket.recv_multipart()
            future, _ = self._waiting.get(frames[0], (None, None))
            if future is not None and not future.done():
                future.set_result(frames[-1])

    async def _watch(self) -> None:
        while True:
            if is_connected_event(await self._monitor.recv_multipart()):
                self.connected.set()
            elif self.connected.is_set():
                self.connected.clear()
                await self._repeat()

    async def _repeat(self) -> None:
        """The connection broke: send again what may be, to whoever is there next."""
        for number, (future, request) in list(self._waiting.items()):
            if request is not None:
                await self._socket.send_multipart((number, b"", request))
            elif not future.done():
                future.set_exception(RequestTimeout("the node stopped before it answered"))

    async def close(self) -> None:
        """End both tasks and close the sockets; calls that still wait end by their timeouts."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._close_sockets()

    def abandon(self) -> None:
        """Close the sockets of a loop that has ended; those of another process are left to that."""
        if self._home[0] == os.getpid():
            with suppress(RuntimeError):  # the loop is closed
                self._close_sockets()

    def _close_sockets(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)


class AsyncClient:
    """Calls of a node's API, any number of them at once, in one event loop.

    As with `Client`, a call whose connection breaks is sent again, but for `talk`. Use it as a context manager, or call
    `close` before the loop ends.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        connect_timeout: float | None = None,
        curve: CurveKeys | None = None,
    ) -> None:
        """As for `Client`, but that connect_timeout is for the start of a call alone: what a node has been sent waits
        for its return for as long as the call may take. The connection is made by the first call."""
        self.endpoint = endpoint or default_endpoint()
        self._timeout = check_seconds("timeout", timeout)
        if connect_timeout is not None:
            check_seconds("connect_timeout", connect_timeout)
        self._connect_timeout = connect_timeout
        self._curve = curve
        self._connection: _Connection | None = None

    async def open(self, *, timeout: float | None = None) -> None:
        """Bind the UDP socket; the local record exists from then on."""
        await self._call(calls.open_node(), timeout)

    async def start(self, *, timeout: float | None = None) -> None:
        """Bootstrap and begin maintenance. Raises NotRunning before `open`."""
        await self._call(calls.start(), timeout)

    async def close_wait(self, *, timeout: float | None = None) -> None:
        """Return when the UDP socket is closed and the store is flushed. The processes go on; `open` opens again."""
        await self._call(calls.close_wait(), timeout)

    async def update_record(
        self,
        record: RecordLike | None = None,
        *,
        addresses: Iterable[str] | None = None,
        kind: Kind = "dht",
        timeout: float | None = None,
    ) -> Record:
        """Replace the local record of a kind by a given one of the same key, or by a new one of some multiaddresses."""
        return await self._call(calls.update_record(record, addresses, kind), timeout)

    @overload
    async def record(self, kind: Literal["dht"] = "dht", *, timeout: float | None = None) -> Record: ...

    @overload
    async def record(self, kind: Literal["provider"], *, timeout: float | None = None) -> Record | None: ...

    async def record(self, kind: Kind = "dht", *, timeout: float | None = None) -> Record | None:
        """Return the local record. The provider record is None until it is set."""
        return await self._call(calls.record(kind), timeout)

    async def add_provider(
        self,
        key: KeyLike | None = None,
        *,
        record: RecordLike | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Added:
        """Publish that this node (or whom `record` names) provides what the key stands for."""
        return await self._call(calls.add_provider(key, named, record), timeout)

    async def add_providers(
        self, keys: Iterable[KeyLike], *, record: RecordLike | None = None, timeout: float | None = None
    ) -> AddedMany:
        """The same for up to 2,000 keys at once; neighbouring keys share lookups."""
        return await self._call(calls.add_providers(keys, record), timeout)

    async def get_providers(
        self,
        key: KeyLike | None = None,
        *,
        limit: int | None = None,
        own: bool = False,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Providers:
        """Find providers on the network and in the local store; this node itself is left out unless `own` is set."""
        return await self._call(calls.get_providers(key, named, limit, own=own), timeout)

    async def get_providers_local(
        self,
        key: KeyLike | None = None,
        *,
        limit: int | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Providers:
        """Return the providers in the local store."""
        return await self._call(calls.get_providers(key, named, limit, local=True), timeout)

    async def remove_providers_local(self, peer_id: str | bytes, *, timeout: float | None = None) -> int:
        """Forget all provider records of a peer in the local store; returns how many there were."""
        return (await self._call(calls.remove_providers_local(peer_id), timeout)).removed

    async def withdraw(self, keys: Iterable[KeyLike], *, timeout: float | None = None) -> None:
        """Publish these keys no longer. Other nodes forget them when their lifetime ends."""
        await self._call(calls.withdraw(keys), timeout)

    async def resolve(
        self,
        key: KeyLike | None = None,
        *,
        peer_id: str | bytes | None = None,
        timeout: float | None = None,
        **named: Unpack[NamedKey],
    ) -> Record | None:
        """Find the record of a node by its id or its peer id; None when nobody knows it."""
        return await self._call(calls.resolve(key, named, peer_id), timeout)

    async def ping(self, node: Record | KeyLike, *, timeout: float | None = None) -> Pong:
        """Ping the node of a record (or its spr:… text), or of an id that is resolved first."""
        return await self._call(calls.ping(node), timeout)

    async def lookup(
        self, key: KeyLike | None = None, *, timeout: float | None = None, **named: Unpack[NamedKey]
    ) -> Nodes:
        """Find the nodes nearest to a key."""
        return await self._call(calls.lookup(key, named), timeout)

    async def talk(
        self, node: Record | KeyLike, protocol: bytes, request: bytes, *, timeout: float | None = None
    ) -> bytes:
        """Send a TALK_REQ to a node, named as for `ping`; returns the response, empty if none handles it."""
        return await self._call(calls.talk(node, protocol, request), timeout)

    async def table(self, *, timeout: float | None = None) -> list[TableEntry]:
        """Return the routing table."""
        return await self._call(calls.table(), timeout)

    async def stats(self, *, timeout: float | None = None) -> NodeStats:
        """Return the life of the node, and counters and gauges of its actors."""
        return await self._call(calls.stats(), timeout)

    async def close(self) -> None:
        """Close the connection; the next call would open another."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            if connection.is_here():
                await connection.close()
            else:
                connection.abandon()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, call: Call[T], timeout: float | None) -> T:
        seconds = self._timeout if timeout is None else timeout
        request = call.pack(seconds)
        connection = self._connected()
        try:
            async with asyncio.timeout(seconds + GRACE):
                await self._reach(connection, seconds)
                reply = await connection.exchange(request, call.repeatable)
        except TimeoutError:
            raise RequestTimeout(
                f"the node at {self.endpoint} did not answer {call.method} within {seconds:g} s"
            ) from None
        return call.unpack(reply)

    def _connected(self) -> _Connection:
        if self._connection is not None and not self._connection.is_here():
            self._connection.abandon()
            self._connection = None
        if self._connection is None:
            self._connection = _Connection(self.endpoint, self._curve)
        return self._connection

    async def _reach(self, connection: _Connection, seconds: float) -> None:
        """Wait until a node is there: nothing is sent that one which starts later would serve. Raises NotRunning."""
        if connection.connected.is_set():
            return
        limit = seconds if self._connect_timeout is None else min(seconds, self._connect_timeout)
        try:
            async with asyncio.timeout(limit):
                await connection.connected.wait()
        except TimeoutError:
            raise NotRunning(no_node(self.endpoint, self._curve)) from None
