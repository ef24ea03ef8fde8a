"""The keys that this node provides, as the store remembers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import WeakSet

from codexdht.messages.internal import DropProvided, ListProvided, PutProvided
from codexdht.routing.core import Core
from codexdht.routing.storelink import OnRefusal, OnValue, StoreLink

STORE_TIMEOUT: Final = 5.0
_FLUSH_EVERY: Final = 1.0

Row = tuple[bytes, float, bytes]
"""Key; Unix time of its last publication, 0 if there is none; the record that it is published with, empty for the
default one."""


class Page:
    """Rows as the store has listed them, and the keys of which something else is known since it was asked: they have
    been published, by a user or again, or withdrawn."""

    __slots__ = ("__weakref__", "_outdated", "rows")

    def __init__(self, outdated: Iterable[bytes]) -> None:
        self.rows: list[Row] = []
        self._outdated = set(outdated)

    def outdate(self, keys: Iterable[bytes]) -> None:
        """What is listed of these keys holds no more."""
        self._outdated.update(keys)

    def holds(self, key: bytes) -> bool:
        """Tell whether what is listed of a key is all that is known."""
        return key not in self._outdated


OnPage = Callable[[Page | None, float], None]
"""What the store has listed, None when it failed or stayed silent; now."""


def _ignore(_value: Any, _now: float) -> None:
    """A key that the store did not write down is published once more by the next sweep."""


class Remembered:
    """Lists these keys and has the store write down what becomes of them.

    `_fresh` are publications that are written down with the next flush: Unix time and record by key. `_pages` are those
    that somebody still works on.
    """

    __slots__ = ("_flushing", "_fresh", "_pages", "_store", "_timers")

    def __init__(self, core: Core, store: StoreLink) -> None:
        self._store = store
        self._timers = core.timers
        self._fresh: dict[bytes, tuple[float, bytes]] = {}
        self._flushing = False
        self._pages: WeakSet[Page] = WeakSet()

    def put(
        self,
        rows: list[tuple[bytes, float]],
        kept: bytes,
        now: float,
        on_kept: OnValue = _ignore,
        on_refusal: OnRefusal | None = None,
    ) -> None:
        """Remember keys with the Unix times of their last publications, and the record that they go with."""
        self._outdate([key for key, _ in rows])
        deadline = now + STORE_TIMEOUT
        self._store.ask(PutProvided, rows, kept, on_value=on_kept, on_refusal=on_refusal, deadline=deadline)

    def drop(self, keys: list[bytes], on_value: OnValue, on_refusal: OnRefusal, deadline: float) -> None:
        """Forget keys."""
        self._outdate(keys)
        self._store.ask(DropProvided, keys, on_value=on_value, on_refusal=on_refusal, deadline=deadline)

    def published(self, key: bytes, unix: float, kept: bytes, now: float) -> None:
        """Write down soon that a key was published at a Unix time."""
        self._outdate([key])
        self._fresh[key] = unix, kept
        if not self._flushing:
            self._flushing = True
            self._timers.at(now + _FLUSH_EVERY, self.flush)

    def flush(self, now: float) -> None:
        """Have the store write down when keys were published."""
        self._flushing = False
        by_record: dict[bytes, list[tuple[bytes, float]]] = {}
        for key, (unix, kept) in self._fresh.items():
            by_record.setdefault(kept, []).append((key, unix))
        self._fresh = {}
        for kept, rows in by_record.items():
            self.put(rows, kept, now)

    def page(self, start: int, limit: int, on_page: OnPage, now: float) -> None:
        """Ask for the first rows whose keys are not below start, in their order."""
        page = Page(self._fresh)
        self._pages.add(page)

        def on_rows(rows: list[Row] | None, at: float) -> None:
            page.rows = rows or []
            on_page(None if rows is None else page, at)

        key = start.to_bytes(32, "big")
        self._store.ask(ListProvided, key, limit, on_value=on_rows, deadline=now + STORE_TIMEOUT)

    def _outdate(self, keys: list[bytes]) -> None:
        """What is listed of these keys, or waits to be written down, holds no more."""
        for key in keys:
            self._fresh.pop(key, None)
        for page in self._pages:
            page.outdate(keys)
