"""What keeps the table true: bootstrap, revalidation, searches, refreshing lookups, saving."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

from codexdht.messages.discv5 import Pong
from codexdht.messages.internal import LoadTable, SaveTable
from codexdht.records import SignedPeerRecord
from codexdht.routing import snapshot
from codexdht.routing.bucket import Bucket
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.entry import Entry
from codexdht.routing.pinger import Pinger
from codexdht.routing.queries.runner import QueryRunner
from codexdht.routing.storelink import StoreLink
from codexdht.routing.timers import Action

_STORE_TIMEOUT = 2.0
_LOAD_AGAIN = 10.0
_SAVED_WAIT = 1.5
_SAVED_SPACING = 0.05
_RETRY_LONGEST = 30.0
_DOUBLINGS = 5
_BUSY_PAUSE = 1.0
_OTHERS = 2


class Maintenance:
    """Runs between `start` and `stop`; timers of an earlier run find out by its number and do nothing.

    One round every few seconds pings one node, and looks whether a search, a refreshing lookup or saving is due. A
    search pings the bootstrap nodes that are not in the table and looks up our own id first, then random ids in the
    emptiest bucket, until there are enough entries. A failing node is pinged again by a timer of its own. `_loaded`:
    the saved table has been asked for and has come, if there is one, so that ours may take its place.
    """

    __slots__ = (
        "_backoff",
        "_contacts",
        "_entropy",
        "_loaded",
        "_local",
        "_pinger",
        "_run",
        "_runner",
        "_saved_at",
        "_searched",
        "_searching",
        "_settings",
        "_store",
        "_timers",
        "running",
    )

    def __init__(
        self,
        core: Core,
        contacts: Contacts,
        pinger: Pinger,
        runner: QueryRunner,
        store: StoreLink,
    ) -> None:
        self._contacts = contacts
        self._pinger = pinger
        self._runner = runner
        self._store = store
        self._timers = core.timers
        self._local = core.local
        self._settings = core.settings
        self._entropy = core.entropy
        self._run = 0
        self._loaded = False
        self._searching = False
        self._searched = 0
        self._backoff = core.settings.search_backoff
        self._saved_at = 0.0
        self.running = False
        contacts.on_doubt = self.doubt

    def start(self, now: float) -> None:
        """Load the saved table, bootstrap and begin."""
        if self.running:
            return
        self.running = True
        self._run += 1
        self._searching = False
        self._searched = 0
        self._saved_at = now
        for entry in self._contacts.table:
            entry.retrying = False
        self._load(now)
        self._after(self._pause(), now, self._round)

    def stop(self) -> None:
        """End what runs by itself."""
        self.running = False
        self._run += 1

    def save(self, now: float, on_saved: Callable[[Any, float], None] | None = None) -> None:
        """Send the table to the store, unless it would only do away with a better one: empty, or never loaded."""
        self._saved_at = now
        if not self._loaded or not len(self._contacts.table):
            if on_saved is not None:
                on_saved(None, now)
            return
        entries = snapshot.dump(self._contacts.table, self._local.unix_offset)
        self._store.ask(SaveTable, entries, on_value=on_saved or _ignore, deadline=now + _STORE_TIMEOUT)

    def is_low(self) -> bool:
        """Tell whether there are too few entries: few that answer, or less than half of what there was."""
        table = self._contacts.table
        answering = (True for entry in table if entry.answers and not entry.failures)
        enough = self._settings.low_entries
        return len(list(islice(answering, enough))) < enough or 2 * len(table) < table.peak

    def greet(self, record: SignedPeerRecord, now: float) -> None:
        """Ping a node that has come to us by itself and has a place in the table, to see whether it answers. Half of
        the checks are left to nodes that we know: strangers may come with addresses where nobody is."""
        entry = self._contacts.table.get(record.node_id)
        has_room = 2 * self._pinger.in_flight < self._settings.max_checks
        if self.running and entry is not None and not entry.answers and has_room:
            self._pinger.ping(entry.record, now)

    def doubt(self, entry: Entry, now: float) -> None:
        """Ask a failing node again: after a second, then later and later. When it has just begun to fail, others are
        asked at once: if they answer, it is gone; if they fail as well, that spreads until we know whether many are
        gone or we are cut off."""
        if self.running and not entry.retrying:
            entry.retrying = True
            pause = min(2.0 ** min(entry.failures - 1, _DOUBLINGS), _RETRY_LONGEST)
            self._after(pause, now, partial(self._retry, entry))
            if entry.failures == 1:
                self._check_others(now)

    # Rounds -------------------------------------------------------------------------------------------------------

    def _round(self, now: float) -> None:
        self._after(self._pause(), now, self._round)
        self._revalidate(now)
        if self.is_low():
            self._search(now)
        last = self._runner.last_lookup
        if last is None or now - last >= self._settings.refresh_after:
            self._look_up(self._random_id(self._least_refreshed()), now)
        if now - self._saved_at >= self._settings.save_every:
            self.save(now)

    def _revalidate(self, now: float) -> None:
        """Ping the least recently seen node of a random bucket. A failing one has a timer of its own, and would always
        be the least recently seen: it has its turn only where there are no others."""
        buckets = [bucket.entries for bucket in self._contacts.table.buckets if bucket.entries]
        if not buckets or not self._may_check():
            return
        at = self._entropy.randrange(len(buckets))
        rested = ([e for e in entries if not e.retrying] for entries in buckets[at:] + buckets[:at])
        entries = next((some for some in rested if some), buckets[at])
        self._pinger.ping(min(entries, key=lambda entry: entry.last_seen).record, now)

    def _check_others(self, now: float) -> None:
        """Ping a few random nodes; the least recently seen would be the most likely to be gone, too."""
        rested = [entry for entry in self._contacts.table if not entry.retrying]
        for entry in self._entropy.sample(rested, min(len(rested), _OTHERS)):
            if self._may_check():
                self._pinger.ping(entry.record, now)

    def _retry(self, entry: Entry, now: float) -> None:
        entry.retrying = False
        if not entry.failures or self._contacts.table.get(entry.node_id) is not entry:
            return
        if self._may_check() and not self._contacts.connectivity.ours:
            self._pinger.ping(entry.record, now)
        else:
            entry.retrying = True
            self._after(_BUSY_PAUSE + self._pause(), now, partial(self._retry, entry))

    # Bootstrap and searches ---------------------------------------------------------------------------------------

    def _load(self, now: float) -> None:
        self._store.ask(LoadTable, on_value=self._on_loaded, deadline=now + _STORE_TIMEOUT)

    def _on_loaded(self, saved: Any, now: float) -> None:
        """Take the saved table in; join without it where the store is not there yet, and ask for it again."""
        if not self.running:
            return
        if saved is None:
            self._after(_LOAD_AGAIN, now, self._load)
            self._join(now)
            return
        self._loaded = True
        entries = snapshot.load(
            saved, self._local.unix_offset, self._settings.ip_limits, self._contacts.records
        )
        placed = [entry for entry in entries if self._contacts.table.restore(entry)]
        for i, entry in enumerate(placed):
            entry.retrying = True
            self._after(i * _SAVED_SPACING, now, partial(self._retry, entry))
        self._after(_SAVED_WAIT if placed else 0.0, now, self._join)

    def _join(self, now: float) -> None:
        """Find our neighbours; by the bootstrap nodes only if the saved ones do not answer."""
        if self.is_low():
            self._search(now)
        else:
            self._look_up(self._local.node_id, now)

    def _search(self, now: float) -> None:
        """Look for nodes now, and again with growing pauses while there are too few."""
        if self._searching:
            return
        self._searching = True
        absent = [r for r in self._contacts.bootstrap if not self._is_alive(r)]
        self._entropy.shuffle(absent)
        for record in absent[: self._settings.max_checks]:
            self._pinger.ping(record, now, self._on_bootstrap)
        self._search_lookup(now)
        self._after(self._backoff, now, self._search_again)
        self._backoff = min(2 * self._backoff, self._settings.search_backoff_max)

    def _search_again(self, now: float) -> None:
        self._searching = False
        if self.is_low():
            self._search(now)
        else:
            self._backoff = self._settings.search_backoff

    def _search_lookup(self, now: float) -> None:
        if not len(self._contacts.table):
            return
        own_first = self._searched == 0
        self._searched += 1
        emptiest = min(self._contacts.table.buckets, key=lambda bucket: len(bucket.entries))
        self._look_up(self._local.node_id if own_first else self._random_id(emptiest), now)

    def _on_bootstrap(self, pong: Pong | None, _rtt: float, now: float) -> None:
        if pong is not None and self.running and self._searched == 0:
            self._search_lookup(now)

    def _look_up(self, target: bytes, now: float) -> None:
        if not self._runner.full:
            end = now + self._settings.background_time
            self._runner.start(self._runner.lookup(target, now), _nothing, now, end, end)

    def _least_refreshed(self) -> Bucket:
        return min(self._contacts.table.buckets, key=lambda bucket: bucket.refreshed)

    def _random_id(self, bucket: Bucket) -> bytes:
        return (bucket.prefix | self._entropy.getrandbits(256) >> bucket.depth).to_bytes(32, "big")

    def _is_alive(self, record: SignedPeerRecord) -> bool:
        entry = self._contacts.table.get(record.node_id)
        return entry is not None and entry.answers > 0 and entry.failures == 0

    def _may_check(self) -> bool:
        return self._pinger.in_flight < self._settings.max_checks

    def _pause(self) -> float:
        settings = self._settings
        return settings.revalidate_min + self._entropy.random() * (
            settings.revalidate_max - settings.revalidate_min
        )

    def _after(self, seconds: float, now: float, action: Action) -> None:
        run = self._run

        def act(at: float) -> None:
            if run == self._run:
                action(at)

        self._timers.at(now + seconds, act)


def _ignore(_value: Any, _now: float) -> None:
    """The store's answer changes nothing."""


def _nothing(_complete: bool, _now: float) -> None:
    """The lookup has taught the table; nobody waits for its result."""
