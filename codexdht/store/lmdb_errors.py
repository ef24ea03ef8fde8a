"""What LMDB's errors mean for a store."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

import lmdb

from codexdht.errors import StoreError
from codexdht.store.backend import ADVICE, NoRoom
from codexdht.store.pages import DATA_FILE

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_NO_ACCESS: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOMEM})


class OlderLayout(StoreError):
    """The store cannot be read without being written to."""


def explain(error: lmdb.Error, path: Path, *, read_only: bool) -> StoreError | NoRoom:
    """Return what to raise for an error in the store in a directory."""
    if isinstance(error, lmdb.MapFullError) or error.code in _NO_ROOM:
        return NoRoom(f"no room for the store in {path}: {error}")
    if isinstance(error, lmdb.VersionMismatchError):
        return StoreError(f"{path / DATA_FILE} was written by another version of LMDB")
    if read_only and isinstance(error, lmdb.NotFoundError):
        return OlderLayout(
            f"the store in {path} has an older layout: a node that starts on it will bring it up to date"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError(
            f"too many processes read the store in {path}, or were killed while they did: try again in a minute"
        )
    if error.code in _NO_ACCESS:
        return StoreError(f"cannot open the store in {path}: {error}")
    return StoreError(f"{path / DATA_FILE} is damaged ({error}); {ADVICE}")
