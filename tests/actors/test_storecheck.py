"""The check of a store in a child: what the child finds, and how it ends, are both answers."""

from __future__ import annotations

import sys
from pathlib import Path

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


def test_child_that_dies(tmp_path: Path) -> None:
    """A signal, an exit code, or no end at all: each says that the store cannot be read."""
    code = "import faulthandler, os; faulthandler.disable(); os.abort()"
    assert check_in_child(tmp_path, [sys.executable, "-c", code]) == ["reading it ends with SIGABRT"]
    assert check_in_child(tmp_path, [sys.executable, "-c", "raise ValueError"]) == [
        "reading it ends with code 1"
    ]
    code = "import signal; signal.pause()"
    assert check_in_child(tmp_path, [sys.executable, "-c", code], seconds=0.05) == [
        "reading it does not end within 0.05 s"
    ]
