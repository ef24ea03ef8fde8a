"""The sockets of users, driven without a reactor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from codexdht.actors.users import UsersPort
from codexdht.api.machine import ApiMachine
from codexdht.api.settings import ApiSettings


@pytest.fixture
def machine() -> ApiMachine:
    return ApiMachine(ApiSettings(), autostart=False)


@pytest.fixture
def poller() -> zmq.Poller:
    return zmq.Poller()


@pytest.fixture
def port(folder: Path, machine: ApiMachine, poller: zmq.Poller) -> Iterator[UsersPort]:
    with zmq.Context() as context:
        port = UsersPort(context, machine, [f"ipc://{folder}/api.sock"], poller, None)
        yield port
        port.close()


@pytest.fixture
def user(folder: Path, port: UsersPort) -> Iterator[zmq.Socket]:
    """A client that has hardly any room for replies that it does not read."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, 1)
        socket.set(zmq.RCVTIMEO, 5000)
        socket.connect(f"ipc://{folder}/api.sock")
        yield socket


def test_replies_wait_for_a_client_that_reads_late(
    machine: ApiMachine, poller: zmq.Poller, port: UsersPort, user: zmq.Socket
) -> None:
    """Thousands of requests that come at once are answered at once; each reply is there when the client reads."""
    user.send_multipart((b"", b"no request"))
    assert poller.poll(5000)
    port.drain(0.0)
    [(envelope, _)] = machine.replies
    machine.replies[:] = [(envelope, b"%d" % number + bytes(500)) for number in range(5000)]
    port.flush(0.0)
    assert machine.counters["reply_undeliverable"] == 0
    assert [int(user.recv_multipart()[-1].rstrip(b"\0")) for _ in range(5000)] == list(range(5000))
