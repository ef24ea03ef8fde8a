"""What `codexdht store …` does with a store on disk, without a node: look, check, copy out, copy in, compact.

`progress` is called with (done, total) now and then. Functions that only read also work while a node uses
the store: they see it as it was when they started, and hold on to that snapshot until they are done.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from codexdht.errors import InvalidRecord, StoreError
from codexdht.records import record_from_uri, record_to_uri
from codexdht.store.answers import AnswerCache
from codexdht.store.backend import Backend, Table
from codexdht.store.clock import StoreClock
from codexdht.store.files import replace_file
from codexdht.store.layout import CLOCK_ROW, KEY_SIZE, LAYOUT_ROW, decode_entry
from codexdht.store.lmdb_backend import LmdbBackend, open_existing, open_lmdb, open_readonly
from codexdht.store.migrations import prepare
from codexdht.store.pages import DATA_FILE, LOCK_FILE
from codexdht.store.peers import decode_peer
from codexdht.store.providers import Announcement, Providers
from codexdht.store.rules import Outcome
from codexdht.store.scan import END, PAGE, Progress, no_progress, pages_of, rows_of
from codexdht.store.settings import StoreSettings
from codexdht.store.verify import VerifyReport, verify

_MAX_PROBLEMS: Final = 20

__all__ = [
    "ImportReport",
    "VerifyReport",
    "compact",
    "export_records",
    "import_records",
    "open_readonly",
    "store_stats",
    "verify",
]


def store_stats(path: Path | str) -> dict[str, Any]:
    """Return counts and sizes of a store. Raises StoreError when it cannot be opened."""
    backend = open_readonly(path)
    try:
        expiries = backend.range(Table.BY_EXPIRY, b"", END, 1)
        saved = StoreClock(backend.get(Table.META, CLOCK_ROW))
        return {
            "path": str(path),
            "layout": int.from_bytes(backend.get(Table.META, LAYOUT_ROW) or b"", "big"),
            "records": backend.count(Table.ENTRIES),
            "providers": backend.count(Table.RECORDS),
            "removed_providers": backend.count(Table.DOOMED),
            "source_networks": backend.count(Table.NETWORKS),
            "provided_keys": backend.count(Table.PROVIDED),
            "table_snapshot_rows": backend.count(Table.SNAPSHOT),
            "used_bytes": backend.used_bytes(),
            "file_bytes": backend.file_bytes(),
            "first_expiry": int.from_bytes(expiries[0][0][:4], "big") - int(saved.lead) if expiries else None,
        }
    finally:
        backend.close()


def export_records(path: Path | str) -> Iterator[dict[str, Any]]:
    """Return every provider record as a map that JSON can hold: key (hex), spr (text), expires (Unix time), source
    network (hex). Raises StoreError when the store cannot be opened."""
    backend = open_readonly(path)
    try:
        lead = int(StoreClock(backend.get(Table.META, CLOCK_ROW)).lead)
        for row, value in rows_of(backend, Table.ENTRIES):
            record = backend.get(Table.RECORDS, row[KEY_SIZE:])
            if record is None:
                continue
            entry = decode_entry(value)
            yield {
                "key": row[:KEY_SIZE].hex(),
                "spr": record_to_uri(decode_peer(row[KEY_SIZE:], record).encoded),
                "expires": entry.expiry - lead,
                "source": entry.source.hex(),
            }
    finally:
        backend.close()


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """One line, as `export_records` makes it."""

    key: str
    spr: str
    expires: int
    source: str = ""


_decode_line = msgspec.json.Decoder(_Line).decode


class ImportReport(NamedTuple):
    """What became of the lines: how many records were taken (or refreshed), what became of the others by reason, and
    the first few lines that could not be read, each with its number."""

    taken: int
    refused: dict[str, int]
    problems: list[str]


def import_records(
    path: Path | str,
    lines: Iterable[bytes | str],
    unix_time: float,
    progress: Progress = no_progress,
    settings: StoreSettings | None = None,
) -> ImportReport:
    """Add exported records to a store that no node uses, by the rules and limits of the settings.

    `progress` is called with (lines, 0). Raises StoreError when the store cannot be opened or is in use, and
    StorageFull when there is no room; what was committed until then stays.
    """
    settings = settings or StoreSettings()
    backend = open_lmdb(path, settings)
    try:
        prepare(backend)
        return _Import(backend, settings, unix_time).run(lines, progress)
    finally:
        backend.close()


class _Import:
    """One run of import_records."""

    def __init__(self, backend: Backend, settings: StoreSettings, unix_time: float) -> None:
        self._backend = backend
        self._providers = Providers(backend, settings, AnswerCache(1))
        self._settings = settings
        self._clock = StoreClock(backend.get(Table.META, CLOCK_ROW))
        self._clock.set(unix_time, 0.0)
        self._latest_seq = int(unix_time) + settings.max_seq_ahead
        self._refused: dict[str, int] = {}
        self._problems: list[str] = []
        self._taken = 0

    def run(self, lines: Iterable[bytes | str], progress: Progress) -> ImportReport:
        number = 0
        for number, line in enumerate(lines, 1):
            try:
                self._take(_decode_line(line))
            except (msgspec.DecodeError, ValueError, RecursionError, InvalidRecord) as error:
                self._refuse("unreadable")
                if len(self._problems) < _MAX_PROBLEMS:
                    self._problems.append(f"line {number}: {' '.join(str(error).split())}")
            if number % PAGE == 0:
                self._commit()
                progress(number, 0)
        self._commit()
        progress(number, 0)
        return ImportReport(self._taken, self._refused, self._problems)

    def _take(self, line: _Line) -> None:
        key, source = bytes.fromhex(line.key), bytes.fromhex(line.source)
        if len(key) != KEY_SIZE or len(source) not in (0, 3, 8):
            raise ValueError("key or source of a wrong size")
        record = record_from_uri(line.spr)
        time = self._clock.time(0.0)
        expiry = min(line.expires + int(self._clock.lead), time + self._settings.lifetime)
        if expiry <= time:
            self._refuse("expired")
            return
        if len(record.encoded) > self._settings.max_record_size:
            self._refuse("refused_record_size")
            return
        new = Announcement(key, record.node_id, record.seq, record.encoded, expiry, source, False)
        outcome = self._providers.announce(new, time, self._latest_seq)
        if outcome in (Outcome.ADDED, Outcome.REFRESHED, Outcome.UNCHANGED):
            self._taken += 1
        else:
            self._refuse(outcome.value)

    def _refuse(self, reason: str) -> None:
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def _commit(self) -> None:
        self._backend.put(Table.META, CLOCK_ROW, self._clock.saved(0.0))
        self._backend.commit()
        self._providers.is_full = self._backend.used_bytes() > self._settings.max_bytes


def compact(path: Path | str, progress: Progress = no_progress) -> tuple[int, int]:
    """Rewrite a store that no node uses without its free pages; return its size in bytes before and after.

    The new file takes the old one's place only when it is complete and on disk; processes that read the old one keep
    it until they are done. Raises StoreError, and NoRoom when the disk has too little for a second one. LMDB has a
    copy function for this, but it crashes (0.9.36, with more than a page of fixed-size values under one key).
    """
    directory = Path(path)
    backend = open_existing(directory)
    fresh = directory / "compact"
    try:
        prepare(backend)
        before = backend.file_bytes()
        shutil.rmtree(fresh, ignore_errors=True)
        _copy(backend, fresh, progress)
        backend.close_files()
        replace_file(fresh / DATA_FILE, directory / DATA_FILE, directory / LOCK_FILE)
        return before, (directory / DATA_FILE).stat().st_size
    except OSError as error:
        raise StoreError(f"cannot compact the store in {directory}: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        backend.close()


def _copy(backend: LmdbBackend, path: Path, progress: Progress) -> None:
    """Write all rows into a new store."""
    total = sum(backend.count(table) for table in Table)
    done = 0
    target = LmdbBackend(path, backend.map_bytes(), lock=False)
    try:
        for table in Table:
            for rows in pages_of(backend, table):
                target.append(table, rows)
                done += len(rows)
                progress(done, total)
        target.commit()
    finally:
        target.close()
