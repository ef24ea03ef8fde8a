"""The sockets of several wire processes: who binds them, and who gets copies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import zmq

from codexdht.actors import sharing
from codexdht.actors.place import Place
from codexdht.actors.sharing import SharedSockets
from codexdht.actors.udp import bind_udp
from codexdht.errors import StartupError
from codexdht.records import Endpoint

LISTEN = [("127.0.0.1", 0)]


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def process(number: int, folder: Path, opened: ExitStack) -> SharedSockets:
    return opened.enter_context(closing(SharedSockets(Place(number, 8), LISTEN, folder, zmq.Poller())))


def open_beside(asking: SharedSockets, asked: SharedSockets) -> list[int]:
    """Have one process open its sockets while another answers; return their ports."""
    done = threading.Event()

    def answer() -> None:
        while not done.wait(0.01):
            asked.drain(0.0)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        return [sock.getsockname()[1] for sock in asking.open()]
    finally:
        done.set()
        thread.join()


def test_the_first_process_binds_and_the_other_gets_copies(tmp_path: Path, opened: ExitStack) -> None:
    """Both have a socket on one port, and the second never binds any."""
    second = process(1, tmp_path, opened)
    first = process(0, tmp_path, opened)
    assert open_beside(second, first) == []
    [port] = open_beside(first, second)
    assert open_beside(second, first) == [port]


def test_who_does_not_answer_may_hold_the_sockets(
    tmp_path: Path, opened: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """The first process waits for a stalled one in place of failing on a port that is in use, and gets its copies. It
    says once what it waits for."""
    first, second = (process(number, tmp_path, opened) for number in range(2))
    [port] = open_beside(first, second)
    assert open_beside(second, first) == [port]
    first.close()
    restarted = process(0, tmp_path, opened)
    assert [restarted.open() for _ in range(3)] == [[]] * 3
    assert len(caplog.messages) == 1
    assert "does not answer; waiting for it" in caplog.messages[0]
    assert open_beside(restarted, second) == [port]


def test_a_full_queue_is_no_answer(
    tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks a stalled process again and again fills its queue; it holds the sockets all the same."""
    first, second = (process(number, tmp_path, opened) for number in range(2))
    [port] = open_beside(first, second)
    assert open_beside(second, first) == [port]
    first.close()
    restarted = process(0, tmp_path, opened)
    monkeypatch.setattr(sharing, "_ASK_SECONDS", 0.001)
    assert not any(restarted.open() for _ in range(200))


def test_a_port_in_use_is_tried_again(
    tmp_path: Path, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process is about to close the sockets that it holds, and its door is closed already."""
    first, tries = process(0, tmp_path, opened), []

    def bind(endpoint: Endpoint, shared: bool = False) -> socket.socket:
        tries.append(endpoint)
        if len(tries) < 3:
            raise StartupError("in use")
        return bind_udp(endpoint, shared)

    monkeypatch.setattr(sharing, "bind_udp", bind)
    assert len(first.open()) == 1


def test_a_port_that_stays_in_use_is_said_to_be(tmp_path: Path, opened: ExitStack) -> None:
    """Somebody else has it."""
    taken = opened.enter_context(bind_udp(("127.0.0.1", 0)))
    listen = [taken.getsockname()]
    first = opened.enter_context(closing(SharedSockets(Place(0, 2), listen, tmp_path, zmq.Poller())))
    with pytest.raises(StartupError, match="in use"):
        first.open()


def test_who_holds_no_sockets_keeps_nobody_waiting(tmp_path: Path, opened: ExitStack) -> None:
    """Processes that start at the same time answer nobody yet: the first binds all the same."""
    others = [process(number, tmp_path, opened) for number in range(1, 8)]
    first = process(0, tmp_path, opened)
    assert [other.open() for other in others] == [[]] * 7
    [port] = [sock.getsockname()[1] for sock in first.open()]
    assert [open_beside(other, first) for other in others] == [[port]] * 7
