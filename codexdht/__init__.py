"""A node of the Codex DHT, and clients of one.

    with codexdht.new_protocol(data_dir="node", bootstrap=["spr:…"]) as node:
        node.open()
        node.start()
        node.add_provider(cid="zDv…")

What is imported here is loaded on first use: the node's own processes import this package, too, and need none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codexdht.client import Client
    from codexdht.client.asynchronous import AsyncClient
    from codexdht.node import Node, new_protocol

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "Node", "__version__", "new_protocol"]

_HOMES = {
    "AsyncClient": "codexdht.client.asynchronous",
    "Client": "codexdht.client",
    "Node": "codexdht.node",
    "new_protocol": "codexdht.node",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
