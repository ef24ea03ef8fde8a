"""Where the user's sockets are bound, and for how many clients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgpack
import pytest
import zmq

from codexdht.actors.users import UsersPort
from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings
from codexdht.errors import StartupError
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


@contextmanager
def bound(*endpoints: str) -> Iterator[UsersPort]:
    """A port with these endpoints."""
    with zmq.Context() as context:
        port = UsersPort(
            context, ApiMachine(ApiSettings(), autostart=False), list(endpoints), zmq.Poller(), None
        )
        try:
            yield port
        finally:
            port.close()


def test_an_ipc_endpoint_of_another_is_not_taken(folder: Path) -> None:
    """Neither at the start nor at the end, where the one that has it removes it; no more than a tcp port is."""
    path = folder / "api.sock"
    with bound(f"ipc://{path}"):
        before = path.stat()
        with (
            pytest.raises(StartupError, match=r"Address already in use; change api\.endpoints"),
            bound(f"ipc://{path}"),
        ):
            pass
        assert path.stat() == before
    assert not path.exists()


def test_the_same_endpoint_twice_is_said(folder: Path) -> None:
    """The second would have taken the clients of the first."""
    with pytest.raises(StartupError, match="in use"), bound(*[f"ipc://{folder}/api.sock"] * 2):
        pass


def test_the_socket_of_a_process_that_ended_is_replaced(folder: Path) -> None:
    """A killed API gets its path back at once."""
    path = folder / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with bound(f"ipc://{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_what_is_no_socket_stays(folder: Path) -> None:
    """A wrong path costs nobody a file."""
    path = folder / "api.sock"
    path.write_text("precious")
    with pytest.raises(StartupError, match="no socket"), bound(f"ipc://{path}"):
        pass
    assert path.read_text() == "precious"


def test_only_an_own_file_is_removed_at_the_end(folder: Path) -> None:
    """Another process has bound the path since somebody removed the file."""
    path = folder / "api.sock"
    with bound(f"ipc://{path}"):
        path.unlink()
        path.write_text("another's")
    assert path.exists()


def test_endpoints_without_a_file_need_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A free port of tcp, a name that ZeroMQ finds, and one in the abstract namespace. Nothing of them is left."""
    monkeypatch.setenv("TMPDIR", str(folder))
    for _ in range(10):
        with bound("tcp://127.0.0.1:0", "ipc://*", f"ipc://@{folder.name}"):
            assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []
