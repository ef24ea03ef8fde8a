"""Clients of a node's API: `Client` blocks, `AsyncClient` is for asyncio; both have the same calls (`api.md`).

A call that fails raises the `ApiError` of its error code (`codexdht.errors`): `NotRunning` also when no node
answers at the endpoint, `RequestTimeout` when one does not answer in time. No call takes longer than its
timeout and half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codexdht.client.protocol import (
    Added,
    AddedMany,
    Key,
    Nodes,
    NodeStats,
    Pong,
    Providers,
    Record,
    TableEntry,
    default_endpoint,
)
from codexdht.client.sockets import CurveKeys
from codexdht.client.sync import Client

if TYPE_CHECKING:
    from codexdht.client.asynchronous import AsyncClient

__all__ = [
    "Added",
    "AddedMany",
    "AsyncClient",
    "Client",
    "CurveKeys",
    "Key",
    "NodeStats",
    "Nodes",
    "Pong",
    "Providers",
    "Record",
    "TableEntry",
    "default_endpoint",
]


def __getattr__(name: str) -> Any:
    """Import the asyncio client only where it is used: asyncio costs as much as all the rest."""
    if name == "AsyncClient":
        from codexdht.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
