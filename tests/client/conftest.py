"""A scripted node behind a real socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from codexdht.client import Client
from codexdht.testing.scripted_node import ScriptedNode


@pytest.fixture
def endpoint(folder: Path) -> str:
    """Where nobody listens yet."""
    return f"ipc://{folder}/api.sock"


@pytest.fixture
def serve(endpoint: str) -> Iterator[Callable[..., ScriptedNode]]:
    """Starts a scripted node at the endpoint; it ends with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(ScriptedNode(options.pop("at", endpoint), **options))


@pytest.fixture
def client(serve: Callable[..., Any], endpoint: str) -> Iterator[Client]:
    """A blocking client of a scripted node."""
    serve()
    with Client(endpoint) as client:
        yield client
