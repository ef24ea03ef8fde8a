"""The check of a whole store: its file is sound, every record decodes, its signature holds, and the indexes agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

from codexdht.errors import DecodeError, StoreError
from codexdht.records import decode_record
from codexdht.store.backend import Backend, Table
from codexdht.store.layout import KEY_SIZE, LAYOUT, LAYOUT_ROW, decode_entry, expiry_row
from codexdht.store.lmdb_backend import existing, open_readonly
from codexdht.store.pages import check_structure
from codexdht.store.peers import decode_peer
from codexdht.store.scan import PAGE, Progress, no_progress, rows_of

_MAX_PROBLEMS: Final = 100


class VerifyReport(NamedTuple):
    """How much was checked, and what is wrong: one line each for the first problems, and how many there are."""

    records: int
    providers: int
    problems: list[str]
    problem_count: int


def verify(path: Path | str, progress: Progress = no_progress) -> VerifyReport:
    """Check a store, also while a node uses it; nothing is changed. Raises StoreError when it cannot be opened.

    The pages of the file are checked first; with damage there, nothing else is. That takes 20 ms a megabyte, in which
    progress is not told.
    """
    damage = check_structure(existing(path))
    if damage:
        return VerifyReport(0, 0, damage[:_MAX_PROBLEMS], len(damage))
    backend = open_readonly(path)
    try:
        return _Check(backend, progress).run()
    finally:
        backend.close()


class _Check:
    """One run of verify. `_unused` are the providers that no entry was seen of yet."""

    def __init__(self, backend: Backend, progress: Progress) -> None:
        self._backend = backend
        self._progress = progress
        self._total = backend.count(Table.RECORDS) + backend.count(Table.ENTRIES)
        self._done = 0
        self._problems: list[str] = []
        self._problem_count = 0
        self._known: set[bytes] = set()
        self._unused: set[bytes] = set()
        self._doomed: set[bytes] = set()
        self._sources: Counter[bytes] = Counter()

    def run(self) -> VerifyReport:
        backend = self._backend
        try:
            self._check_layout()
            self._doomed = {number for number, _ in rows_of(backend, Table.DOOMED)}
            self._check_records()
            self._check_entries()
            self._check_counts()
        except StoreError as error:
            self._report(str(error))
        self._progress(self._done, self._total)
        return VerifyReport(
            backend.count(Table.ENTRIES), len(self._known), self._problems, self._problem_count
        )

    def _report(self, problem: str) -> None:
        self._problem_count += 1
        if len(self._problems) < _MAX_PROBLEMS:
            self._problems.append(problem)

    def _advance(self) -> None:
        self._done += 1
        if self._done % PAGE == 0:
            self._progress(self._done, self._total)

    def _check_layout(self) -> None:
        layout = int.from_bytes(self._backend.get(Table.META, LAYOUT_ROW) or b"", "big")
        if layout != LAYOUT:
            self._report(f"the store has layout {layout}, not {LAYOUT}")

    def _check_records(self) -> None:
        for number, value in rows_of(self._backend, Table.RECORDS):
            self._advance()
            self._known.add(number)
            peer = decode_peer(number, value)
            name = f"provider {number.hex()}"
            try:
                record = decode_record(peer.encoded)
            except DecodeError as error:
                self._report(f"{name}: {error}")
                continue
            if (record.node_id, record.seq) != (peer.node_id, peer.seq):
                self._report(f"{name}: node id or seq is not the record's")
            if self._backend.get(Table.PEERS, peer.node_id) != number:
                self._report(f"{name}: cannot be found by its node id")
            if number in self._doomed:
                self._report(f"{name}: both removed and present")
        self._unused = self._known | self._doomed

    def _check_entries(self) -> None:
        present = self._known | self._doomed
        for row, value in rows_of(self._backend, Table.ENTRIES):
            self._advance()
            key, number = row[:KEY_SIZE], row[KEY_SIZE:]
            name = f"record {key.hex()}/{number.hex()}"
            self._unused.discard(number)
            if number not in present:
                self._report(f"{name}: its provider is missing")
            if self._backend.get(Table.BY_PEER, number + key) is None:
                self._report(f"{name}: cannot be found by its provider")
            if self._backend.get(Table.BY_EXPIRY, expiry_row(row, value)) is None:
                self._report(f"{name}: cannot be found by its expiry")
            source = decode_entry(value).source
            if source:
                self._sources[source] += 1

    def _check_counts(self) -> None:
        entries = self._backend.count(Table.ENTRIES)
        for table in (Table.BY_PEER, Table.BY_EXPIRY):
            if self._backend.count(table) != entries:
                self._report(f"{table.name.lower()} has {self._backend.count(table)} rows, not {entries}")
        if self._backend.count(Table.PEERS) != len(self._known):
            self._report(f"peers has {self._backend.count(Table.PEERS)} rows, not {len(self._known)}")
        for number in sorted(self._unused):
            self._report(f"provider {number.hex()}: provides nothing")
        counted = {source: int.from_bytes(v, "big") for source, v in rows_of(self._backend, Table.NETWORKS)}
        for source in sorted(counted.keys() | self._sources.keys()):
            count, present = counted.get(source, 0), self._sources[source]
            if count != present:
                self._report(f"network {source.hex()}: counted {count} records, not {present}")
