"""Stores that cannot be opened are refused with one line that says what to do."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
from pathlib import Path
from typing import Any

import lmdb
import lmdb.verify
import pytest

from codexdht.errors import StoreError
from codexdht.store.backend import PAIRS, PREFIX, Table
from codexdht.store.layout import LAYOUT
from codexdht.store.lmdb_backend import open_lmdb, open_readonly
from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.pages import check_structure
from codexdht.store.settings import StoreSettings
from codexdht.store.tools import verify

PAGE = 4096


def filled(store: Any) -> Path:
    """Return the data file of a stopped store with some records."""
    for key in range(200):
        store.add(key, peer=key % 7, host="127.0.0.1", settle=False)
    store.stop()
    return Path(store.path) / "data.mdb"


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def truncate_to_a_page(file: Path) -> None:
    os.truncate(file, PAGE)


def zero_first_pages(file: Path) -> None:
    with file.open("r+b") as data:
        data.write(bytes(2 * PAGE))


def replace_by_text(file: Path) -> None:
    file.write_text("not a database\n" * 1000)


@pytest.mark.parametrize("damage", [truncate, truncate_to_a_page, zero_first_pages, replace_by_text])
def test_damaged_file_is_refused(make_disk_store: Any, damage: Any) -> None:
    """One line with the file's name and what to do."""
    store = make_disk_store()
    damage(filled(store))
    with pytest.raises(StoreError) as error:
        store.start()
    assert "data.mdb" in str(error.value)
    assert "move it away" in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_store_can_be_tried_again(make_disk_store: Any) -> None:
    """A refused store is not held open: with the file moved away the next start works."""
    store = make_disk_store()
    file = filled(store)
    replace_by_text(file)
    with pytest.raises(StoreError):
        store.start()
    file.unlink()
    store.start()
    assert store.get(1) == []


def test_garbage_ends_in_a_refusal_or_is_harmless(make_disk_store: Any) -> None:
    """Garbage in any page may bring the process down, for real, three times; then the store is refused, if not before.
    In children, to see it."""
    store = make_disk_store()
    file = filled(store)
    whole = file.read_bytes()
    rng = random.Random(1)
    deaths = 0
    for _ in range(12):
        page = rng.randrange(2, len(whole) // PAGE)
        with file.open("r+b") as data:
            data.seek(page * PAGE)
            data.write(bytes(16) if rng.random() < 0.5 else rng.randbytes(16))
        lives = [_exit_code(lambda: _open_and_use(store)) for _ in range(4)]
        assert lives[3] in (0, 7)
        assert all(code in (0, 7) or code < 0 for code in lives)
        deaths += sum(code < 0 for code in lives)
        file.write_bytes(whole)
        (Path(store.path) / "owner.lock").write_bytes(b"")
    assert deaths > 0


def _open_and_use(store: Any) -> None:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        store.start()
        for key in range(200):
            store.get(key)
        store.add(1000, peer=1)
        store.wait(90_000)
        store.stop()
    except StoreError:
        os._exit(7)


def _exit_code(work: Any) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must not go on as a second pytest
            import traceback

            traceback.print_exc()
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_newer_layout_is_refused(make_store: Any) -> None:
    """A store of a later version of the program is left alone."""
    store = make_store()
    store.backend.put(Table.META, b"layout", (LAYOUT + 1).to_bytes(4, "big"))
    store.backend.commit()
    store.crash()
    with pytest.raises(StoreError, match=rf"layout {LAYOUT + 1}.*{LAYOUT} at most"):
        store.start()
    store.backend.close()


def test_one_owner_at_a_time(make_disk_store: Any) -> None:
    """A second process is refused, tools that only read are not."""
    store = make_disk_store()
    with pytest.raises(StoreError, match="in use"):
        open_lmdb(store.path, store.settings)


def test_missing_and_forbidden_paths(store_dir: Path) -> None:
    """Neither makes a directory where only reading was asked for."""
    with pytest.raises(StoreError, match="no store"):
        open_readonly(store_dir / "absent")
    assert not (store_dir / "absent").exists()
    file = store_dir / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        open_lmdb(file / "store", StoreSettings())


def test_missing_record_is_damage(make_store: Any) -> None:
    """An entry without its provider's record is no reason to answer nonsense."""
    store = make_store(record_cache_size=1)
    store.add(1, peer=0)
    store.add(2, peer=1)
    for number, _ in store.backend.range(Table.RECORDS, b"", b"\xff" * 9, 9):
        store.backend.delete(Table.RECORDS, number)
    with pytest.raises(StoreError, match="damaged"):
        store.get(1)


@pytest.mark.parametrize("table", [Table.ENTRIES, Table.BY_EXPIRY])
def test_housekeeping_does_not_try_for_ever(make_store: Any, table: Table) -> None:
    """Rows that contradict each other cannot be deleted: that is damage, too, and no reason to be busy for ever."""
    store = make_store()
    store.add(1, peer=0)
    [(row, value)] = store.backend.range(table, b"", b"\xff" * 80, 9)
    store.backend.delete(table, row)
    if table is Table.BY_EXPIRY:
        store.backend.put(table, row[:4] + b"\xff" * 4 + row[8:], value)
    with pytest.raises(StoreError, match=r"damaged.*move it away"):
        store.wait(90_000)


def test_memory_store_needs_no_file() -> None:
    """The simulator's store opens on nothing."""
    assert MemoryBackend().file_bytes() == 0


def _garble_a_page(path: Path) -> None:
    """Damage the records of a provider's page, so that opening the store does not notice."""
    file = path / "data.mdb"
    whole = file.read_bytes()
    for page in range(2, len(whole) // PAGE):
        file.write_bytes(whole[: page * PAGE + 8] + bytes(8) + whole[page * PAGE + 16 :])
        if check_structure(path):
            return
    raise AssertionError("no page is in use")


def test_third_crash_in_a_row_has_the_file_checked(make_disk_store: Any) -> None:
    """A damaged page that brings the process down does so three times, and is then refused with one line."""
    store = make_disk_store()
    path = filled(store).parent
    _garble_a_page(path)
    (path / "owner.lock").write_bytes(b"xxx")
    with pytest.raises(StoreError, match="damaged"):
        open_lmdb(path, store.settings)


def test_check_has_the_last_word_after_crashes(make_disk_store: Any) -> None:
    """Whatever it has found is in the refusal, and it is not asked again without need."""
    store = make_disk_store()
    path = filled(store).parent
    asked = []

    def check(directory: Path) -> list[str]:
        asked.append(directory)
        return ["reading it ends with SIGABRT"]

    for _ in range(2):
        (path / "owner.lock").write_bytes(b"xxx")
        with pytest.raises(StoreError, match="SIGABRT; move it away"):
            open_lmdb(path, store.settings, check=check)
    (path / "owner.lock").write_bytes(b"xx")
    open_lmdb(path, store.settings, check=check).close()
    assert asked == [path, path]


def test_killed_owners_are_forgiven(make_disk_store: Any) -> None:
    """Kills do no damage: the check finds nothing, and the store opens."""
    store = make_disk_store()
    path = filled(store).parent
    for _ in range(5):
        assert _exit_code(lambda: (store.start(), os._exit(0))) == 0
    assert 1 <= len((path / "owner.lock").read_bytes()) <= 3
    store.start()
    assert store.get(1) == [(1, 1)]
    store.stop()
    assert (path / "owner.lock").read_bytes() == b""
    store.start()


def test_verify_reports_damaged_pages(make_disk_store: Any) -> None:
    """The pages are looked at without the help of LMDB, which might not survive it."""
    path = filled(make_disk_store()).parent
    _garble_a_page(path)
    assert verify(path).problem_count >= 1


def test_what_lmdb_miscounts_is_neither_damage_nor_use(folder: Path) -> None:
    """LMDB counts the pages of rows that share a prefix wrongly once many were deleted: a store that has seen many
    come and go is sound all the same, and its use does not grow with them."""
    path = folder / "store"
    backend = open_lmdb(path, StoreSettings())
    rng = random.Random(1)
    rows: list[bytes] = []
    used = []
    for second in range(60):
        for _ in range(150):
            rows.append((second // 3).to_bytes(PREFIX, "big") + rng.randbytes(PAIRS[Table.BY_EXPIRY]))
            backend.put(Table.BY_EXPIRY, rows[-1], b"")
        while len(rows) > 200:
            backend.delete(Table.BY_EXPIRY, rows.pop(rng.randrange(len(rows))))
        backend.commit()
        used.append(backend.used_bytes())
    backend.close()
    assert lmdb.verify.verify(str(path)), "LMDB counts well by now: what works around it can go"
    assert check_structure(path) == []
    assert used[-1] <= max(used[:20]) + 16_384
