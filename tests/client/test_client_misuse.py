"""Both clients, used as they are not meant to be: a clear error, or it works; no call hangs."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codexdht.client import AsyncClient, Client, Key
from codexdht.errors import BadRequest, InvalidParams, NotRunning
from codexdht.testing.scripted_node import OWN, ScriptedNode

ID = bytes(range(32))
Serve = Callable[..., ScriptedNode]
NO_TIMES: list[Any] = [-1, 0, math.nan, math.inf, 1e30, "x", True, [1]]


@pytest.mark.parametrize("seconds", NO_TIMES)
def test_a_time_that_is_none(client: Client, endpoint: str, seconds: Any) -> None:
    """It is named, by every way it can come in."""
    with pytest.raises(InvalidParams, match=r"^timeout is .* expected seconds"):
        client.record(timeout=seconds)
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidParams, match=r"^timeout is "):
            kind(endpoint, timeout=seconds)
        with pytest.raises(InvalidParams, match=r"^connect_timeout is "):
            kind(endpoint, connect_timeout=seconds)
    with pytest.raises(InvalidParams, match=r"^timeout is "):
        asyncio.run(AsyncClient(endpoint).record(timeout=seconds))
    assert client.record().spr == OWN.encoded


def test_arguments_of_other_types(client: Client) -> None:
    """Text in place of a list is not taken for a list of letters."""
    wrong: Any = "abc"
    for call in (client.add_providers, client.withdraw, lambda x: client.update_record(addresses=x)):
        with pytest.raises(InvalidParams, match="is a list, not str"):
            call(wrong)
    with pytest.raises(InvalidParams, match="an endpoint is text"):
        Client(b"ipc:///x").record()  # type: ignore[arg-type]
    with pytest.raises(InvalidParams, match="CURVE key"):
        Client("tcp://127.0.0.1:9", curve=(b"", b"", b"")).record()  # type: ignore[arg-type]


def test_a_request_that_no_node_could_receive(endpoint: str, client: Client) -> None:
    """ZeroMQ would close the connection, and the call would wait for its time; both clients refuse it instead."""
    too_large = bytes(64 * 1024 * 1024)
    with pytest.raises(BadRequest, match=r"talk: \d+ bytes; 67108864 are the limit"):
        client.talk(ID, b"", too_large)
    with pytest.raises(BadRequest, match="limit"):
        asyncio.run(AsyncClient(endpoint).talk(ID, b"", too_large))
    with pytest.raises(BadRequest, match="limit"):
        client.talk(ID, b"", too_large[:2_000_000])
    assert client.record().spr == OWN.encoded


def test_more_than_one_key(client: Client) -> None:
    """What is meant is never guessed where two things are named, or none, or something that is no key."""
    wrong: Any = 5
    for named in ({}, {"id": ID, "cid": "x"}, {"id": wrong}):
        with pytest.raises(InvalidParams, match="one key"):
            client.get_providers(**named)
    with pytest.raises(InvalidParams, match="one key"):
        client.get_providers(ID, id=wrong)
    with pytest.raises(InvalidParams, match="either a key or peer_id"):
        client.resolve(ID, peer_id=OWN.peer_id)
    with pytest.raises(InvalidParams, match="either a key or peer_id"):
        client.resolve(id=ID, peer_id=OWN.peer_id)


def test_what_a_text_is_taken_for() -> None:
    """64 hexadecimal digits are an id, 40 behind 0x an address; all else is a CID, 40 digits by themselves, too."""
    forms = {
        "ab" * 32: "id",
        "0x" + "ab" * 32: "id",
        "0x" + "ab" * 20: "address",
        "ab" * 20: "cid",
        "z1": "cid",
    }
    assert {text: next(iter(Key.of(text).wire)) for text in forms} == forms
    assert [next(iter(Key.of(data).wire)) for data in (bytes(32), bytes(20), bytes(36))] == [
        "id",
        "address",
        "cid",
    ]


def test_a_forked_process_gets_a_connection_of_its_own(client: Client) -> None:
    """The parent's is of no use there, and neither is a lock that a thread of the parent holds."""
    client.record()
    client._lock.acquire()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.write(writer, client.record(timeout=10.0).spr)
        finally:
            os._exit(0)
    client._lock.release()
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        assert answer.read() == OWN.encoded
    os.waitpid(child, 0)
    assert client.record().spr == OWN.encoded


@pytest.mark.parametrize("is_closed", [True, False])
def test_one_loop_after_another(serve: Serve, endpoint: str, is_closed: bool) -> None:
    """An AsyncClient connects anew in each, also where the last one was ended beneath it."""
    serve()
    client = AsyncClient(endpoint)

    async def use(is_closed: bool) -> bytes:
        spr = (await client.record()).spr
        if is_closed:
            await client.close()
        return spr

    assert asyncio.run(use(is_closed)) == OWN.encoded
    assert asyncio.run(use(True)) == OWN.encoded


def test_a_node_of_another_user(closed: Path) -> None:
    """What keeps the client away is said, and not that there is none."""
    with (
        Client(f"ipc://{closed}/api.sock", connect_timeout=0.1) as client,
        pytest.raises(NotRunning, match="is closed to this user"),
    ):
        client.stats()
