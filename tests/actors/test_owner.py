"""The watch over the process that owns a node."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from codexdht.actors.api import _watch_owner


class Watched:
    """A reactor that only keeps what it is to ask."""

    def __init__(self) -> None:
        self.watches: list[Callable[[], bool]] = []

    def watch(self, is_over: Callable[[], bool]) -> None:
        self.watches.append(is_over)


def watch_over(owner: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    monkeypatch.setenv("CODEXDHT_OWNER_PID", str(owner))
    reactor = Watched()
    _watch_owner(reactor)  # type: ignore[arg-type]
    [is_over] = reactor.watches
    return is_over


def test_a_node_ends_with_its_owner_before_that_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that died keeps its id until its parent has asked for it; supervisord gets SIGTERM all the same."""
    with (
        subprocess.Popen(["sleep", "60"]) as supervisord,
        subprocess.Popen(["true"], stdout=subprocess.PIPE) as owner,
    ):
        monkeypatch.setattr(os, "getppid", lambda: supervisord.pid)
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
        is_over = watch_over(owner.pid, monkeypatch)()
        if not is_over:
            supervisord.kill()
        assert supervisord.wait(10) == -signal.SIGTERM


def test_an_owner_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one of another user, whom this process may send nothing."""
    monkeypatch.setattr(os, "getppid", lambda: pytest.fail("supervisord is ended"))

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    assert not watch_over(os.getpid(), monkeypatch)()
    monkeypatch.setattr(os, "kill", refuse)
    assert not watch_over(os.getpid(), monkeypatch)()
