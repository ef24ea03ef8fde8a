"""The files of a store as files: who has them open for writing, and how one takes another's place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from codexdht.errors import StoreError
from codexdht.store.backend import NoRoom

_FILE: Final = "owner.lock"
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Owner:
    """A lock on a store's directory, held from construction to `release`; it ends with the process in any case.

    The lock's file holds how many owners in a row never got to `release`: `unclean_ends`. They were killed, or the
    store itself brought them down.
    """

    def __init__(self, path: Path) -> None:
        """Make the directory if it is missing and lock it. Raises StoreError, also when another process has it."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_new = not (path / _FILE).exists()
            self._file = os.open(path / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if is_new:
                _give(self._file, path.stat())
        except OSError as error:
            raise StoreError(f"cannot open the store in {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StoreError(
                f"the store in {path} is in use by another process: stop that node first"
            ) from None
        self.unclean_ends = len(os.pread(self._file, 100, 0))
        self._released = False

    def begin(self) -> None:
        """Count this owner as unclean until it says otherwise. A disk too full for that one byte is no obstacle."""
        try:
            os.pwrite(self._file, b"x", self.unclean_ends)
        except OSError:
            self.unclean_ends = 0

    def forgive(self) -> None:
        """Begin to count anew."""
        os.ftruncate(self._file, 0)
        self.unclean_ends = 0

    def release(self) -> None:
        """End in order."""
        if not self._released:
            self._released = True
            os.ftruncate(self._file, 0)
            os.close(self._file)


def reserve(file: Path, size: int) -> None:
    """Give a file that will be mapped its place on the disk: where a full disk has none, whoever writes to the mapped
    file is killed (SIGBUS). Raises NoRoom; what else may be wrong is left to whoever opens the file.

    One that has a place already is let be: closing it here would end what locks this process has on it.
    """
    if _has_place(file):
        return
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        _give(handle, file.parent.stat())
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise NoRoom(f"no room for {file}: {error.strerror}") from None
    finally:
        os.close(handle)


def _has_place(file: Path) -> bool:
    try:
        return file.stat().st_blocks > 0
    except OSError:
        return False


def _give(file: int, to: os.stat_result) -> None:
    """Give a file to the owner of another one, as far as that can be: root may use a store that is not its own."""
    with contextlib.suppress(OSError):
        os.fchown(file, to.st_uid, to.st_gid)


def replace_file(source: Path, target: Path, companion: Path) -> None:
    """Put a file in another's place so that a crash leaves one of the two, whole, and remove what was kept beside the
    old one. Owner and mode stay."""
    before = target.stat()
    with source.open("rb") as file:
        os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
        _give(file.fileno(), before)
        os.fsync(file.fileno())
    os.replace(source, target)
    companion.unlink(missing_ok=True)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
