"""The pages of LMDB's file: how many a table has, and what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import lmdb.verify

from codexdht.store.backend import PAIRS, PREFIX, Table

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"
"""Readers' snapshots, and the number of the last commit. It says which root in DATA_FILE is the newer one, as long as
any process has it open, so it must never outlive the file it was made for."""
LOCK_SIZE: Final = 8192
"""What LMDB makes of it, mapped, for 126 readers."""
_NAMES: Final = {Table.BY_PEER: "by_peer_3", Table.BY_EXPIRY: "by_expiry_3"}
_MISCOUNT: Final = re.compile(
    "|".join(rf"/{_NAMES[table]} DB: walked .*pages.*, record says" for table in PAIRS)
)
"""What LMDB counts wrongly by itself (`count_pages`) is no damage."""


def name_of(table: Table) -> str:
    """Return the name that a table has in the file; one whose rows have changed with the layout has a new one."""
    return _NAMES.get(table, table.name.lower())


def count_pages(table: Table, stat: Any, size: int) -> int:
    """Return how many pages a table has. For a table in `PAIRS` LMDB's own count only ever grows: it forgets pages of a
    prefix's values that are given back. There it is taken for no more than half-filled pages would be."""
    counted: int = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    if table not in PAIRS:
        return counted
    half_filled: int = 2 + stat["entries"] * 2 * (PREFIX + PAIRS[table]) // size
    return min(counted, half_filled)


def check_structure(path: Path) -> list[str]:
    """Return what is wrong with the pages of a store's file, without LMDB itself, which may not survive finding out.

    Nothing is found when somebody writes to the file meanwhile: the walk would have seen a mixture.
    """
    before = (path / DATA_FILE).stat()
    try:
        problems: list[str] = lmdb.verify.verify(str(path))
    except lmdb.verify.VerifyError as error:
        problems = [str(error)]
    after = (path / DATA_FILE).stat()
    if after.st_mtime_ns != before.st_mtime_ns:
        return []
    return [problem for problem in problems if not _MISCOUNT.search(problem)]
