"""Who holds a run directory."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codexdht.actors.rundir import Holder, holders, lock_holder, locked, make_run_dir
from codexdht.errors import StartupError

HOLD = """
import sys
from pathlib import Path
from codexdht.actors.rundir import locked
with locked(Path(sys.argv[1]), Path(sys.argv[2]), "store"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(run_dir: Path, supervisor: int, data_dir: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the lock of the store, started by a supervisord of that id."""
    environ = os.environ | {"SUPERVISOR_ENABLED": "1", "CODEXDHT_SUPERVISOR_PID": str(supervisor)}
    command = [sys.executable, "-c", HOLD, str(run_dir), str(data_dir or run_dir)]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process


def ended_pid() -> int:
    """The id of a process that is no more."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_a_lock_names_actor_and_supervisord(folder: Path) -> None:
    """`codexdht down` sends its signal to the supervisord that the lock names."""
    with held(folder, os.getpid()) as process:
        assert holders(folder) == [Holder(process.pid, os.getpid())]
        assert not holders(folder)[0].is_dying()


def test_what_a_lock_file_says_counts_only_while_it_is_locked(folder: Path) -> None:
    """Its ids may be those of other processes by now."""
    (folder / "store.lock").write_text(f"{os.getpid()} {os.getpid()}")
    assert holders(folder) == []
    assert lock_holder(folder / "none.lock") is None


@pytest.mark.parametrize(
    ("run_dirs", "data_dirs", "shared"),
    [
        (("data/run", "data/run"), ("data", "data"), "data directory {}/data"),
        (("one", "two"), ("data", "data"), "data directory {}/data"),
        (("data/run", "two"), ("data", "data"), "data directory {}/data"),
        (("run", "run"), ("data", "other"), "run directory {}/run"),
    ],
)
def test_a_second_node_is_refused(
    folder: Path, run_dirs: tuple[str, str], data_dirs: tuple[str, str], shared: str
) -> None:
    """Whether it would share the data directory, the run directory or both; the message names it and the process."""
    with (
        held(folder / run_dirs[0], os.getpid(), folder / data_dirs[0]) as process,
        pytest.raises(StartupError, match=f"{shared.format(folder)} is in use .* pid {process.pid}"),
        locked(folder / run_dirs[1], folder / data_dirs[1], "store"),
    ):
        pass


def test_a_run_directory_by_another_name_is_locked_once(folder: Path) -> None:
    """A link to the default one is no second node."""
    (folder / "data" / "run").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "data" / "run")
    with locked(folder / "link", folder / "data", "store"):
        assert [holder.pid for holder in holders(folder / "link")] == [os.getpid()]


def test_the_actor_of_a_killed_supervisord_is_waited_for(folder: Path) -> None:
    """It ends by itself; who was refused for its sake would not be started again."""
    taken = threading.Event()

    def take() -> None:
        with locked(folder, folder, "store"):
            taken.set()

    with held(folder, ended_pid()) as process:
        assert holders(folder)[0].is_dying()
        thread = threading.Thread(target=take)
        thread.start()
        assert not taken.is_set()
        process.communicate()
    thread.join(10)
    assert taken.is_set()


def test_a_supervisord_that_waits_to_be_reaped_is_gone(folder: Path) -> None:
    """A killed process keeps its id until its parent has asked for it."""
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as zombie:
        assert zombie.stdout is not None
        zombie.stdout.read()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        assert Holder(1, zombie.pid).is_dying()


@pytest.mark.parametrize("name", ["file/run", "x" * 120])
def test_a_directory_that_cannot_be_used_is_said(folder: Path, name: str) -> None:
    """With the setting that changes it."""
    (folder / "file").write_text("")
    with pytest.raises(StartupError, match=r"set node\.(data|run)_dir"):
        make_run_dir(folder / name)
