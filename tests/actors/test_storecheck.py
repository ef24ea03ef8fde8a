"""The check of a store in a child: what the child finds, and what damage does to it, are both answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codexdht.actors.storecheck import check_in_child
from codexdht.store.lmdb_backend import open_lmdb
from codexdht.store.migrations import prepare
from codexdht.store.settings import StoreSettings


def test_sound_store(tmp_path: Path) -> None:
    """There is nothing to say about it, also while its owner has it locked."""
    backend = open_lmdb(tmp_path / "store", StoreSettings())
    prepare(backend)
    assert check_in_child(tmp_path / "store") == []
    backend.close()


def test_what_the_child_finds(tmp_path: Path) -> None:
    """One line a problem."""
    (tmp_path / "data.mdb").write_text("not a database\n" * 1000)
    [problem] = check_in_child(tmp_path)
    assert "not an LMDB data file" in problem


def test_child_that_damage_ends(tmp_path: Path) -> None:
    """The signal says that the store cannot be read."""
    code = "import faulthandler, os; faulthandler.disable(); os.abort()"
    assert check_in_child(tmp_path, [sys.executable, "-c", code]) == ["reading it ends with SIGABRT"]


@pytest.mark.parametrize(
    ("code", "seconds", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", 60, "exit code -9"),
        ("raise MemoryError", 60, "exit code 1"),
        ("import signal; signal.pause()", 0.05, "no end within 0.05 s"),
    ],
)
def test_child_that_cannot_finish(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str, seconds: float, reason: str
) -> None:
    """Killed, out of memory or of time: that is no damage, and only logged."""
    assert check_in_child(tmp_path, [sys.executable, "-c", code], seconds) == []
    assert [record.fields for record in caplog.records] == [{"reason": reason}]  # type: ignore[attr-defined]


def test_child_ends_with_its_parent() -> None:
    """An actor that is told to stop while its store is checked leaves no process behind."""
    child = (
        "import signal\n"
        "from codexdht.actors.storecheck import end_with_parent\n"
        "end_with_parent()\n"
        "print(flush=True)\n"
        "while True: signal.pause()"
    )
    parent = (
        "import subprocess, sys\n"
        "started = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=subprocess.PIPE)\n"
        "started.stdout.read(1)"
    )
    subprocess.run([sys.executable, "-c", parent, child], stderr=subprocess.PIPE, timeout=20, check=True)
