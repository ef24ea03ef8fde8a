"""The pipe that makes supervisord prompt, and the stream that its processes' log goes to."""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from supervisor import events, loggers
from supervisor.medusa.asyncore_25 import socket_map
from supervisor.process import Subprocess
from supervisor.states import ProcessStates


@pytest.fixture
def module() -> Iterator[ModuleType]:
    """`codexdht.supervision`, imported as supervisord does it; its effects on this process end with the test."""
    old = signal.set_wakeup_fd(-1, warn_on_full_buffer=False)
    handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    environ = dict(os.environ)
    sys.modules.pop("codexdht.supervision", None)
    module = importlib.import_module("codexdht.supervision")
    yield module
    os.close(module.waker._reader)
    os.close(module.waker._writer)
    signal.signal(signal.SIGCHLD, handler)
    signal.set_wakeup_fd(old)
    os.environ.clear()
    os.environ.update(environ)
    socket_map.clear()
    events.clear()
    del loggers.open


def turns(most: int = 100) -> int:
    """Do what supervisord's loop does with its map; return after how many waits nothing was to be read."""
    for turn in range(most):
        readable = [fd for fd, dispatcher in list(socket_map.items()) if dispatcher.readable()]
        found, _, _ = select.select(readable, [], [], 0)
        if not found:
            return turn
        for fd in found:
            socket_map[fd].handle_read_event()
    return most


def child_ends() -> None:
    os.kill(os.getpid(), signal.SIGCHLD)


def test_the_first_turn_does_not_wait(module: ModuleType) -> None:
    """supervisord starts its processes after its first wait, which the import alone ends."""
    assert turns() == 1


def test_a_child_that_died_gives_two_turns(module: ModuleType) -> None:
    """One to reap it, one to start it again; any other signal gives one."""
    turns()
    child_ends()
    assert turns() == 2
    signal.raise_signal(signal.SIGCHLD)
    child_ends()
    assert turns() == 2


def test_restarts_without_end_are_slowed_down(module: ModuleType) -> None:
    """From the seventeenth child on that dies within ten seconds, supervisord goes at its own pace of a second."""
    turns()
    seen = []
    for _ in range(18):
        child_ends()
        seen.append(turns())
    assert seen == [2] * 16 + [1] * 2


def test_what_ends_without_end_waits(module: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """From then on a process that was not expected to end is held back by supervisord's own back-off, though its output
    wakes the loop, and that is said; one that was expected to end is not touched."""
    process = Subprocess(SimpleNamespace(name="wire-0"))
    process.group = None
    process.spawnerr = "Bad exit code 1"
    states = []
    for expected in [False] * 17 + [True]:
        child_ends()
        turns()
        process.state = ProcessStates.RUNNING
        process.change_state(ProcessStates.EXITED, expected=expected)
        states.append(process.state)
    assert states == [ProcessStates.EXITED] * 16 + [ProcessStates.BACKOFF, ProcessStates.EXITED]
    assert process.delay > process.backoff == 1
    assert capfd.readouterr().err.startswith(
        "supervisord: cannot start wire-0: Bad exit code 1; starting it again"
    )


def test_a_reload_makes_a_new_pipe(module: ModuleType) -> None:
    """A supervisord that reloads closes every descriptor it does not know; signals still end its wait."""
    turns()
    for fd in (module.waker._reader, module.waker._writer):
        os.close(fd)
    other = os.open(os.devnull, os.O_RDONLY)  # takes the number of the old read end
    turns()
    assert list(socket_map) == [module.waker._reader]
    assert module.waker._reader != other
    child_ends()
    assert turns() == 2
    os.close(other)


def test_what_nobody_reads_is_lost(module: ModuleType) -> None:
    """A standard error whose reader is gone stops no process: neither opening nor writing it waits or raises."""
    reader, writer = os.pipe()
    stream = module.ErrorStream(writer)
    stream.write(b"line\n")
    assert os.read(reader, 100) == b"line\n"
    os.close(reader)
    stream.write(b"line\n")
    os.close(writer)


def test_only_standard_error_is_not_opened_by_name(module: ModuleType, tmp_path: Path) -> None:
    """supervisord's handlers get the stream for /dev/stderr, and a file of its own for any other name."""
    error, file = loggers.FileHandler("/dev/stderr"), loggers.FileHandler(str(tmp_path / "log"))
    for handler in (error, file):
        handler.emit(loggers.LogRecord(loggers.LevelsByName.INFO, b"line\n"))
        handler.reopen()
        handler.close()
    assert isinstance(error.stream, module.ErrorStream)
    assert (tmp_path / "log").read_bytes() == b"line\n"


def test_why_a_process_does_not_start_is_said(module: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    """On standard error, after a start and after a reload, which forgets all listeners; once each time."""
    config = SimpleNamespace(name="wire-0")
    process = SimpleNamespace(config=config, group=None, backoff=1, spawnerr="no such file")
    for _ in range(2):
        events.clear()
        turns()
        turns()
        events.notify(events.ProcessStateBackoffEvent(process, None, expected=False))
    assert capfd.readouterr().err == "supervisord: cannot start wire-0: no such file\n" * 2
