"""Which announcement replaces what, and who is let in when room is short (behaviour.md, "Provider store").

Pure functions, and `View`, what is known of one key, of which `Views` keeps some.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import Final

from codexdht.store.layout import Entry
from codexdht.store.sources import NO_SOURCE

_WORTH_KEEPING: Final = 16


class Outcome(Enum):
    """What became of an announcement; the value is the name of its counter."""

    ADDED = "providers_added"
    REFRESHED = "providers_refreshed"
    UNCHANGED = "providers_unchanged"
    STALE = "refused_stale_seq"
    KEY_FULL = "refused_key_full"
    SOURCE_KEY_FULL = "refused_source_key_full"
    SOURCE_FULL = "refused_source_full"
    RECORDS_FULL = "refused_records_full"
    DISK_FULL = "refused_disk_full"


class Order(Enum):
    """How a record relates to the one that is held."""

    OLDER = -1
    SAME = 0
    NEWER = 1


def compare_seq(seq: int, held: int, latest: int) -> Order:
    """Tell whether a record of this seq replaces the held one.

    The higher seq wins. A seq above `latest` (a day ahead of the clock) loses against every other one, and the last
    received of two such wins: else a peer whose clock was once wrong would be locked out by its own record.
    """
    if seq == held:
        return Order.SAME
    if held > latest:
        return Order.NEWER
    return Order.NEWER if held < seq <= latest else Order.OLDER


class View:
    """The live providers of one key: number → entry, and how many of them each network has announced."""

    __slots__ = ("_first", "entries", "sources", "weight")

    def __init__(self, entries: dict[bytes, Entry]) -> None:
        self.entries = entries
        self.weight = len(entries)
        self.sources: dict[bytes, int] = {}
        self._first: bytes | None = None
        for entry in entries.values():
            self._count(entry.source, 1)

    def set(self, number: bytes, entry: Entry) -> None:
        """Add a provider, or replace its entry."""
        self.drop(number)
        self.entries[number] = entry
        self._count(entry.source, 1)

    def drop(self, number: bytes) -> None:
        """Remove a provider, if it is there."""
        old = self.entries.pop(number, None)
        if old is not None:
            self._count(old.source, -1)
        self._first = None

    def first_to_expire(self) -> bytes:
        """Return the number of the provider that expires first. There has to be one.

        Kept until the view changes, because a flood at a full key asks for it every time.
        """
        if self._first is None:
            self._first = min(self.entries, key=lambda number: self.entries[number].expiry)
        return self._first

    def _count(self, source: bytes, change: int) -> None:
        if source == NO_SOURCE:
            return
        count = self.sources.get(source, 0) + change
        if count:
            self.sources[source] = count
        else:
            del self.sources[source]


class Views:
    """The views used last of keys with many providers, bounded by the entries in them (`weight`: the most it ever had).

    A key with few providers is read again faster than its view is kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._views: OrderedDict[bytes, View] = OrderedDict()

    def get(self, key: bytes) -> View | None:
        """Return the view of a key if it is kept."""
        return self._views.get(key)

    def put(self, key: bytes, view: View) -> View:
        """Keep a view that is not kept, if it is worth it; older ones make room."""
        if view.weight >= _WORTH_KEEPING:
            self._views[key] = view
            self._weight += view.weight
            self._trim()
        return view

    def add(self, key: bytes, number: bytes, entry: Entry) -> None:
        """Add a provider to the view of a key, or replace its entry, if that is kept."""
        view = self._views.get(key)
        if view is not None:
            view.set(number, entry)
            growth = max(len(view.entries) - view.weight, 0)
            view.weight += growth
            self._weight += growth
            self._views.move_to_end(key)
            self._trim()

    def drop(self, key: bytes, number: bytes) -> None:
        """Remove a provider from the view of a key, if that is kept."""
        view = self._views.get(key)
        if view is not None:
            view.drop(number)

    def clear(self) -> None:
        """Forget all views."""
        self._views.clear()
        self._weight = 0

    def _trim(self) -> None:
        while self._weight > self._limit and len(self._views) > 1:
            _, view = self._views.popitem(last=False)
            self._weight -= view.weight


def is_replaceable(entry: Entry, time: int, lifetime: int) -> bool:
    """Tell whether a newcomer may take this place at a full key: less than half of its lifetime is left.

    So a flood of fresh identities takes no place of a provider that announces itself on time.
    """
    return 2 * (entry.expiry - time) < lifetime
