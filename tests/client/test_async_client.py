"""The asyncio client against a real socket."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import zmq
import zmq.asyncio

from codexdht.client import AsyncClient, Client
from codexdht.errors import InvalidParams, NotRunning, RequestTimeout
from codexdht.messages import internal
from codexdht.testing.scripted_node import OWN, SILENT, ScriptedNode

ID = bytes(range(32))
Serve = Callable[..., ScriptedNode]


def run(endpoint: str, use: Callable[[AsyncClient], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        async with AsyncClient(endpoint, **options) as client:
            return await use(client)

    return asyncio.run(main())


def test_both_clients_have_the_same_calls() -> None:
    """Every public method of one is one of the other, with the same parameters."""
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            other = getattr(AsyncClient, name)
            assert inspect.iscoroutinefunction(other)
            assert inspect.signature(method) == inspect.signature(other)


def test_calls_run_at_once(serve: Serve, endpoint: str) -> None:
    """Many calls share one socket, and a slow one holds nobody up."""
    serve(script={internal.Lookup: lambda _: SILENT})

    async def use(client: AsyncClient) -> None:
        slow = asyncio.create_task(client.lookup(ID, timeout=0.3))
        records = await asyncio.gather(*(client.record() for _ in range(50)))
        assert {record.uri for record in records} == {OWN.uri}
        assert not slow.done()
        with pytest.raises(RequestTimeout):
            await slow

    run(endpoint, use)


def test_a_cancelled_call(serve: Serve, endpoint: str) -> None:
    """Cancelling one call leaves the others alone."""
    serve(script={internal.Lookup: lambda _: SILENT})

    async def use(client: AsyncClient) -> None:
        slow = asyncio.create_task(client.lookup(ID))
        await client.record()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await client.record()).uri == OWN.uri

    run(endpoint, use)


def test_a_node_that_answers_twice(endpoint: str) -> None:
    """The second answer, as after a request that was sent again, is nobody's; later calls get theirs."""
    reply = msgspec.msgpack.encode({"ok": True, "result": None})

    async def use(client: AsyncClient) -> None:
        with zmq.asyncio.Context.instance().socket(zmq.ROUTER) as node:
            node.bind(endpoint)
            for _ in range(3):
                call = asyncio.create_task(client.open())
                sender, number, *_ = await node.recv_multipart()
                for _ in range(5):
                    await node.send_multipart((sender, number, b"", reply))
                await call
            assert client._connection is not None
            assert client._connection._waiting == {}

    run(endpoint, use)


def test_a_loop_that_reads_late(endpoint: str) -> None:
    """Replies that come while the loop is busy, as with starting thousands of calls, wait for it; none is lost."""
    reply = msgspec.msgpack.encode({"ok": True, "result": None, "filling": bytes(1000)})

    async def use(client: AsyncClient) -> None:
        with zmq.Context.instance().socket(zmq.ROUTER) as node:
            node.set(zmq.ROUTER_MANDATORY, 1)
            node.set(zmq.SNDTIMEO, 3000)
            node.bind(endpoint)
            call = asyncio.create_task(client.open())
            while not node.poll(0):
                await asyncio.sleep(0)
            sender, number, *_ = node.recv_multipart()
            for _ in range(5000):
                node.send_multipart((sender, number, b"", reply))
            await call

    run(endpoint, use)


def test_no_node_for_asyncio(endpoint: str) -> None:
    """Where nobody listens a call ends with a clear error within its time."""

    async def use(client: AsyncClient) -> None:
        with pytest.raises(NotRunning, match="no node answers"):
            await client.record()

    run(endpoint, use, timeout=0.1)


def test_errors_of_the_node(serve: Serve, endpoint: str) -> None:
    """A code becomes its exception; the client goes on."""
    serve()

    async def use(client: AsyncClient) -> None:
        with pytest.raises(InvalidParams):
            await client.get_providers("no cid")
        assert await client.resolve(ID) is None

    run(endpoint, use)


def test_a_node_restarted_under_asyncio(endpoint: str) -> None:
    """Requests that were lost with their process are sent again; `talk` is told lost."""

    async def use(client: AsyncClient) -> None:
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def be_silent(_: Any) -> object:
            loop.call_soon_threadsafe(asked.set)
            return SILENT

        with ScriptedNode(endpoint, script={internal.Lookup: lambda _: SILENT, internal.Talk: be_silent}):
            lookup = asyncio.create_task(client.lookup(ID))
            await client.record()
            talk = asyncio.create_task(client.talk(ID, b"", b""))
            await asked.wait()
        with ScriptedNode(endpoint):
            assert len((await lookup).nodes) == 4
            with pytest.raises(RequestTimeout, match="stopped"):
                await talk

    run(endpoint, use, timeout=10)


def test_bad_endpoint_for_asyncio() -> None:
    """A bad endpoint is the caller's mistake."""

    async def use(client: AsyncClient) -> None:
        with pytest.raises(InvalidParams):
            await client.record()

    run("nonsense", use)
