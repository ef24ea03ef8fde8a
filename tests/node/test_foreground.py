"""`codexdht up` and `down`, and signals to single processes of a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from codexdht.actors.rundir import holders
from codexdht.client import Client
from codexdht.errors import NotRunning
from codexdht.node import actor_pid, stop_node

ACTORS = ["wire", "routing", "store", "api"]
Up = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    """Runs `codexdht up` on the folder and returns when the node is started."""
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        options = ["--data-dir", str(folder), "--listen", "/ip4/127.0.0.1/udp/0"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("CODEXDHT_")}
        running.append(subprocess.Popen([sys.executable, "-m", "codexdht.cli", "up", *options], env=environ))
        eventually(lambda: is_started(folder))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def eventually(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail when it does not hold in time."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def is_started(data_dir: Path) -> bool:
    try:
        with Client(f"ipc://{data_dir}/run/api.sock") as client:
            stats = client.stats(timeout=1.0)
    except NotRunning:
        return False
    return stats.life == "started" and not stats.missing


def supervisord_of(data_dir: Path) -> int:
    (pid,) = {holder.supervisor for holder in holders(data_dir / "run")}
    return pid


def test_an_actor_that_is_told_to_stop_is_started_again(up: Up, folder: Path) -> None:
    """SIGTERM ends one in order, with code 0; while its supervisord runs, the node is to be whole."""
    up()
    for actor in ACTORS:
        pid = actor_pid(folder / "run", actor)
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        eventually(lambda actor=actor, pid=pid: actor_pid(folder / "run", actor) not in (None, pid))
    eventually(lambda: is_started(folder))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_whole_node(up: Up, folder: Path, number: signal.Signals) -> None:
    """SIGHUP, too: it says that the terminal is gone."""
    process = up()
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    assert process.wait(20) == 0
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []


def test_down_ends_it(up: Up, folder: Path) -> None:
    """It returns when the actors are gone; then there is nothing to stop."""
    process = up()
    stop_node(folder / "run", timeout=20)
    assert holders(folder / "run") == []
    assert process.wait(20) == 0
    with pytest.raises(NotRunning):
        stop_node(folder / "run")


def test_a_node_starts_at_once_after_its_supervisord_was_killed(
    up: Up, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The actors of the old one need a moment to end; the new node waits for them. The old `up` says what happened."""
    old = up()
    os.kill(supervisord_of(folder), signal.SIGKILL)
    assert old.wait(20) == 1
    up()
    assert "supervisord was ended by SIGKILL" in capfd.readouterr().err


def test_down_stops_no_process_that_took_over_an_old_id(folder: Path) -> None:
    """What the files of a dead node say is not believed."""
    (folder / "run").mkdir()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        for name in ("store.lock", "api.lock", "supervisor.pid", "supervisord.pid"):
            (folder / "run" / name).write_text(f"{stranger.pid} {stranger.pid}")
        with pytest.raises(NotRunning):
            stop_node(folder / "run")
        stranger.communicate()
    assert stranger.returncode == 0


def test_down_says_where_it_cannot_look(closed: Path) -> None:
    """That no node runs is not known there."""
    with pytest.raises(PermissionError):
        stop_node(closed)
