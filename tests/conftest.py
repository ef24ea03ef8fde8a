"""What several test packages share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from codexdht.node import Bootstrap, Node, new_protocol

settings.register_profile("suite", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("suite")

# A shell starts background jobs with SIGINT ignored, and their children inherit that: tests that interrupt would fail.
signal.signal(signal.SIGINT, signal.default_int_handler)

StartNode = Callable[..., Node]


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder with a name short enough for sockets in it."""
    path = Path(tempfile.mkdtemp(prefix="cdx-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def closed(folder: Path) -> Iterator[Path]:
    """A folder that this process cannot enter: another user's, for one that runs as root."""
    path, user = folder / "closed", os.geteuid()
    path.mkdir(mode=0o000)
    folder.chmod(0o755)
    if user == 0:
        os.seteuid(65534)
    yield path
    os.seteuid(user)
    path.chmod(0o700)


@pytest.fixture
def start_node(folder: Path) -> Iterator[StartNode]:
    """Starts supervised nodes on free ports of loopback, and ends them with the test."""
    nodes: list[Node] = []

    def start(name: str = "a", bootstrap: Bootstrap = (), **settings: object) -> Node:
        node = new_protocol(
            listen="/ip4/127.0.0.1/udp/0",
            bootstrap=bootstrap,
            data_dir=folder / name,
            settings={key.replace("__", "."): value for key, value in settings.items()},
        )
        nodes.append(node)
        node.open()
        node.start()
        return node

    yield start
    for node in nodes:
        node.close_wait()
