"""The user's sockets of the API's process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgpack
import pytest
import zmq

from codexdht.node import shipped_file


@pytest.fixture
def api(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process of an API actor that has no others, started with a soft limit of 64 descriptors."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("CODEXDHT_")} | {
        "CODEXDHT_CONFIG": str(shipped_file("config/codexdht.toml")),
        "CODEXDHT_NODE__DATA_DIR": str(folder),
    }
    command = ["sh", "-c", 'ulimit -Sn 64 && exec "$0" -m codexdht.actors api', sys.executable]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any(b"started" in line for line in process.stderr)
        yield process
        process.terminate()


def test_a_hundred_clients_fit_in_a_soft_limit_of_64(api: subprocess.Popen[bytes], folder: Path) -> None:
    """What an administrator has allowed is used: libzmq would end the process at the soft limit."""
    with ExitStack() as opened:
        context = opened.enter_context(zmq.Context())
        clients = [opened.enter_context(context.socket(zmq.REQ)) for _ in range(100)]
        for client in clients:
            client.set(zmq.LINGER, 0)
            client.set(zmq.RCVTIMEO, 5000)
            client.connect(f"ipc://{folder}/run/api.sock")
            client.send(msgpack.packb({"method": "nothing"}))
        replies = [msgpack.unpackb(client.recv()) for client in clients]
    assert {reply["error"]["code"] for reply in replies} == {"unknown_method"}
    assert api.poll() is None
