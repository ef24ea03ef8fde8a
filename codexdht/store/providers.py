"""The provider records as a whole: announcements go in by the rules, live providers come out.

`Providers` owns all tables of provider records. What memory holds of them (views, records, removed peers, encoded
answers) never differs from the tables: every change goes through here and through both. After a rollback of the
backend, `reload` has to be called.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from codexdht.store.answers import AnswerCache
from codexdht.store.backend import Backend, damaged
from codexdht.store.layout import Entries, Entry
from codexdht.store.peers import Peer, Peers
from codexdht.store.rules import Order, Outcome, View, Views, compare_seq, is_replaceable
from codexdht.store.settings import StoreSettings
from codexdht.store.sources import NO_SOURCE

_USUAL_RECORD: Final = 256
"""A record of this size may replace any other: sizes differ a little from one signature to the next."""
_EXPIRED_STEP: Final = 8
"""Expired entries deleted at most before a newcomer is refused: about 0.1 ms."""
_LIMITS: Final = (Outcome.SOURCE_KEY_FULL, Outcome.SOURCE_FULL, Outcome.RECORDS_FULL)
"""The limits that expired entries count against until they are deleted."""


class Announcement(NamedTuple):
    """A verified record of a peer under a key. `local`: for this node's user, whom a full key does not stop."""

    key: bytes
    node_id: bytes
    seq: int
    encoded: bytes
    expiry: int
    source: bytes
    local: bool


class Providers:
    """See the module. Every `time` is the store's, in whole seconds.

    `is_full` is set from outside while the disk has no room: refreshes go on then, newcomers are refused, and so are
    large records in place of smaller ones. `writes` counts changes of the tables: a refused announcement may make one,
    too, of a record that is under other keys.
    """

    def __init__(self, backend: Backend, settings: StoreSettings, answers: AnswerCache) -> None:
        self._settings = settings
        self._answers = answers
        self._entries = Entries(backend)
        self._peers = Peers(backend, settings.record_cache_size)
        self._views = Views(settings.view_cache_size)
        self._next_expiry: int | None = self._entries.next_expiry()
        self.is_full = False
        self.writes = 0
        self._expired = 0

    def reload(self) -> None:
        """Forget what memory holds, after a rollback."""
        self._entries.reload()
        self._peers.reload()
        self._views.clear()
        self._answers.clear()
        self._next_expiry = self._entries.next_expiry()
        self._expired = 0

    def count(self) -> int:
        """Return the number of records, expired and removed ones that are not deleted yet among them."""
        return self._entries.count

    def count_peers(self) -> int:
        """Return the number of distinct providers."""
        return self._peers.count()

    def seq_if_held(self, node_id: bytes, encoded: bytes) -> int | None:
        """Return the seq of a peer's record if it is exactly the one held, which then needs no further check."""
        peer = self._peers.find(node_id)
        return peer.seq if peer is not None and peer.encoded == encoded else None

    def live(self, key: bytes, time: int) -> list[tuple[int, bytes]]:
        """Return (expiry, number) of the live providers of a key, freshest first."""
        return self._entries.live(key, time)

    def record(self, number: bytes) -> bytes:
        """Return the encoded record of a provider that `live` named."""
        return self._peers.get(number).encoded

    def announce(self, new: Announcement, time: int, latest_seq: int) -> Outcome:
        """Store an announcement, or say why not. Raises StorageFull when the backend does."""
        outcome = self._announce(new, time, latest_seq)
        if outcome in _LIMITS and self._make_room(new, outcome, time):
            outcome = self._announce(new, time, latest_seq)
        return outcome

    def _announce(self, new: Announcement, time: int, latest_seq: int) -> Outcome:
        peer = self._peers.find(new.node_id)
        if peer is None:
            return self._enter(new, None, self._view(new.key), time)
        order = compare_seq(new.seq, peer.seq, latest_seq)
        if order is Order.NEWER:
            if self.is_full and len(new.encoded) > max(len(peer.encoded), _USUAL_RECORD):
                return Outcome.DISK_FULL
            self.writes += 1
            self._peers.replace(peer, new.seq, new.encoded)
            self._answers.drop_peer(peer.number)
        view = self._view(new.key)
        held = view.entries.get(peer.number)
        if held is not None and held.expiry > time:
            return self._refresh(new, peer.number, held, order, time)
        if held is not None:
            self.remove(new.key, peer.number)
            return self._announce(new, time, latest_seq)
        return self._enter(new, peer, view, time)

    def remove(self, key: bytes, number: bytes) -> None:
        """Delete one entry, and its peer when that has no other."""
        self._drop(key, number)
        self._drop_peers([number])

    def remove_expired(self, time: int, limit: int) -> None:
        """Delete entries that have expired, `limit` at most, first those that expired first."""
        expired = self._entries.expired(time, limit)
        for key, number in expired:
            self._drop(key, number)
        self._drop_peers(dict.fromkeys(number for _, number in expired))
        if expired and self._entries.expired(time, 1) == expired[:1]:
            raise damaged("a record has another expiry than an index says")
        self._next_expiry = self._entries.next_expiry()
        self._expired += len(expired)

    def take_expired(self) -> int:
        """Return how many expired entries were deleted since this was asked last, or since a rollback."""
        expired, self._expired = self._expired, 0
        return expired

    def next_expiry(self) -> int | None:
        """Return a time before which nothing expires, or None when there is nothing."""
        return self._next_expiry

    def doom(self, node_id: bytes) -> bytes | None:
        """Remove a peer with all its entries, as far as readers see; return its number for the clean-up."""
        peer = self._peers.find(node_id)
        if peer is None:
            return None
        self._peers.remove(peer.number)
        self._entries.doom(peer.number)
        self._views.clear()
        self._answers.drop_peer(peer.number)
        return peer.number

    @property
    def has_doomed(self) -> bool:
        """Tell whether entries of removed peers are still to be deleted."""
        return bool(self._entries.doomed)

    def remove_doomed(self, limit: int) -> None:
        """Delete entries of one removed peer, `limit` at most."""
        number = min(self._entries.doomed)
        for key in self._entries.keys_of(number, b"", limit):
            self._drop(key, number)
        self._drop_peers([number])

    def keys_of(self, number: bytes, start: bytes, limit: int) -> list[bytes]:
        """Return keys that a peer, removed or not, has entries under: in order, from the first not below start."""
        return self._entries.keys_of(number, start, limit)

    def _drop(self, key: bytes, number: bytes) -> None:
        """Delete one entry; its peer may be left without any."""
        self.writes += 1
        self._entries.remove(key, number)
        self._views.drop(key, number)
        self._answers.drop_key(key)

    def _drop_peers(self, numbers: Iterable[bytes]) -> None:
        """Forget those of some peers, removed or not, that have no entry."""
        for number in numbers:
            if self._entries.has_any(number):
                continue
            if number in self._entries.doomed:
                self._entries.absolve(number)
            else:
                self._peers.remove(number)

    def _refresh(self, new: Announcement, number: bytes, held: Entry, order: Order, time: int) -> Outcome:
        """Give a provider that the key has more time. The encoded answer stays if it is a fresh one: it would have the
        same chance of a place in a new answer, and making one reads all providers of the key."""
        if order is Order.OLDER:
            return Outcome.STALE
        if new.expiry <= held.expiry:
            return Outcome.UNCHANGED if order is Order.SAME else Outcome.REFRESHED
        self.writes += 1
        entry = self._entries.refresh(new.key, number, held, new.expiry)
        self._views.add(new.key, number, entry)
        if is_replaceable(held, time, self._settings.lifetime):
            self._answers.drop_key(new.key)
        return Outcome.REFRESHED

    def _enter(self, new: Announcement, peer: Peer | None, view: View, time: int) -> Outcome:
        """Admit a provider that the key does not have."""
        outcome = self._admit(new, view, time)
        if outcome is not Outcome.ADDED:
            return outcome
        self.writes += 1
        if peer is None:
            peer = self._peers.create(new.node_id, new.seq, new.encoded)
        entry = self._entries.add(new.key, peer.number, new.expiry, new.source)
        if self._next_expiry is None or entry.expiry < self._next_expiry:
            self._next_expiry = entry.expiry
        self._views.add(new.key, peer.number, entry)
        self._answers.drop_key(new.key)
        return outcome

    def _admit(self, new: Announcement, view: View, time: int) -> Outcome:
        """Apply the limits; make room at a full key if the rules allow it."""
        settings = self._settings
        if self.is_full:
            return Outcome.DISK_FULL
        if new.source != NO_SOURCE:
            if view.sources.get(new.source, 0) >= settings.max_per_source_and_key:
                return Outcome.SOURCE_KEY_FULL
            if self._entries.count_of_source(new.source) >= settings.max_per_source:
                return Outcome.SOURCE_FULL
        if len(view.entries) >= settings.max_per_key:
            first = view.first_to_expire()
            if not (new.local or is_replaceable(view.entries[first], time, settings.lifetime)):
                return Outcome.KEY_FULL
            self.remove(new.key, first)
        elif self._entries.count >= settings.max_records:
            return Outcome.RECORDS_FULL
        return Outcome.ADDED

    def _make_room(self, new: Announcement, outcome: Outcome, time: int) -> bool:
        """Delete some of what has expired and counts against the limit that was reached; tell whether there was any."""
        if outcome is Outcome.SOURCE_KEY_FULL:
            return self._remove_expired_of_source(new.key, new.source, time)
        if self._next_expiry is None or self._next_expiry > time:
            return False
        self.remove_expired(time, _EXPIRED_STEP)
        return True

    def _remove_expired_of_source(self, key: bytes, source: bytes, time: int) -> bool:
        view = self._view(key)
        if view.entries[view.first_to_expire()].expiry > time:
            return False
        entries = view.entries.items()
        expired = [number for number, entry in entries if entry.source == source and entry.expiry <= time]
        for number in expired:
            self.remove(key, number)
        self._expired += len(expired)
        return bool(expired)

    def _view(self, key: bytes) -> View:
        view = self._views.get(key)
        if view is None:
            view = self._views.put(key, View(dict(self._entries.of_key(key))))
        return view
