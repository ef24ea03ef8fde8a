"""The keys that this node provides, as the store remembers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any, Final
from weakref import WeakSet

from codexdht.messages.internal import DropProvided, ListProvided, Message, PutProvided
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

    `_fresh` are publications that are written down with the next flush: Unix time and record by key. `_changing` are
    the keys of changes that the store has not confirmed: it lists at once, and writes when it comes to that. `_pages`
    are those that somebody still works on.
    """

    __slots__ = ("_changes", "_changing", "_flushing", "_fresh", "_pages", "_store", "_timers")

    def __init__(self, core: Core, store: StoreLink) -> None:
        self._store = store
        self._timers = core.timers
        self._fresh: dict[bytes, tuple[float, bytes]] = {}
        self._flushing = False
        self._changes = 0
        self._changing: dict[int, list[bytes]] = {}
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
        keys = [key for key, _ in rows]
        self._change(
            keys, partial(PutProvided, items=rows, record=kept), on_kept, on_refusal, now + STORE_TIMEOUT
        )

    def drop(self, keys: list[bytes], on_value: OnValue, on_refusal: OnRefusal, deadline: float) -> None:
        """Forget keys."""
        self._change(keys, partial(DropProvided, keys=keys), on_value, on_refusal, deadline)

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
        page = Page(chain(self._fresh, *self._changing.values()))
        self._pages.add(page)

        def on_rows(rows: list[Row] | None, at: float) -> None:
            page.rows = rows or []
            on_page(None if rows is None else page, at)

        key = start.to_bytes(32, "big")
        self._store.ask(ListProvided, key, limit, on_value=on_rows, deadline=now + STORE_TIMEOUT)

    def _change(
        self,
        keys: list[bytes],
        request: Callable[..., Message],
        on_value: OnValue,
        on_refusal: OnRefusal | None,
        deadline: float,
    ) -> None:
        self._outdate(keys)
        self._changes += 1
        number = self._changes
        self._changing[number] = keys

        def on_done(value: Any, now: float) -> None:
            del self._changing[number]
            on_value(value, now)

        def on_refused(code: str, text: str, now: float) -> None:
            del self._changing[number]
            if on_refusal is not None:
                on_refusal(code, text, now)
            else:
                on_value(None, now)

        self._store.ask(request, on_value=on_done, on_refusal=on_refused, deadline=deadline)

    def _outdate(self, keys: list[bytes]) -> None:
        """What is listed of these keys, or waits to be written down, holds no more."""
        for key in keys:
            self._fresh.pop(key, None)
        for page in self._pages:
            page.outdate(keys)
