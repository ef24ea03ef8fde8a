"""What this node provides: publishing it, remembering it, and publishing it again in time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from codexdht.messages.internal import PutProvider
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.holdercheck import HolderCheck
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.publish import Publish
from codexdht.routing.queries.runner import OnEnd, QueryRunner
from codexdht.routing.remembered import STORE_TIMEOUT, Page, Remembered, Row
from codexdht.routing.storelink import OnRefusal, OnValue, StoreLink
from codexdht.routing.timers import Action

_PAGE: Final = 512
_SLICES: Final = 720
_END: Final = 1 << 256
_RETRY: Final = 60.0
_FIRST_SWEEP: Final = 30.0
_LONGEST: Final = 1.5
"""Periods between two publications of a key at the most."""


class Published:
    """Publishes keys for users, and walks over all keys of the store again and again.

    The walk visits the key space in `_SLICES` steps, one turn in `_period` seconds, so that work is spread evenly and
    neighbouring keys share lookups. No key becomes older than one and a half periods, 18 h of a lifetime of 24 h: one
    that would, before the walk comes to it next, is due. A sweep looks for such keys everywhere at once: after a
    restart, as the walk may have come to them while the node was down; when the machine has slept; after a failure;
    when the record that they were published with has changed; and when a sample of keys shows that their holders leave
    faster than the period allows; the period then becomes the time in which half of them leave.

    `_active` are keys on their way, with the query whose end will be written down; a key withdrawn meanwhile is in it
    no longer. `_run` numbers starts, so that timers of an earlier one do nothing.
    """

    __slots__ = (
        "_active",
        "_at",
        "_check",
        "_contacts",
        "_entropy",
        "_local",
        "_period",
        "_remembered",
        "_run",
        "_runner",
        "_settings",
        "_store",
        "_sweep_is_set",
        "_sweeping",
        "_timers",
        "_walking",
        "running",
    )

    def __init__(self, core: Core, contacts: Contacts, runner: QueryRunner, store: StoreLink) -> None:
        self._contacts = contacts
        self._runner = runner
        self._store = store
        self._timers = core.timers
        self._local = core.local
        self._settings = core.settings
        self._entropy = core.entropy
        self._period = core.settings.republish_every
        self._active: dict[bytes, Publish] = {}
        self._remembered = Remembered(core, store)
        self._check = HolderCheck(
            core,
            contacts,
            runner,
            self._remembered,
            is_busy=lambda key: key in self._active or not self.running,
            on_lost=lambda key, kept, now: self._publish([key], kept, _unheard, now),
            on_halving=self._adapt,
        )
        self._sweeping = False
        self._sweep_is_set = False
        self._walking = False
        self._at = 0
        self._run = 0
        self.running = False

    @property
    def period(self) -> float:
        """Seconds between two publications of a key, at present."""
        return self._period

    def start(self, now: float) -> None:
        """Begin to publish again what the store remembers."""
        if self.running or not self._settings.republish:
            return
        self.running = True
        self._run += 1
        self._sweeping = self._sweep_is_set = self._walking = False
        self._after(_FIRST_SWEEP * (0.5 + self._entropy.random()), now, self._sweep)

    def stop(self) -> None:
        """End what runs by itself. Keys on their way are not written down as published."""
        self.running = False
        self._run += 1
        self._active.clear()

    def record_changed(self, now: float) -> None:
        """Publish again soon what was published with the default record as it was before: it may lead nowhere now."""
        if self.running:
            self._sweep_later(now)

    def clock_stepped(self, seconds: float, now: float) -> None:
        """Publish soon what has become old by more time than the walk knows of: the machine has slept, or its clock was
        wrong."""
        if self.running and abs(seconds) > self._period / _SLICES:
            self._sweep_later(now)

    # For users ----------------------------------------------------------------------------------------------------

    def prepare(
        self, keys: list[bytes], record: bytes, now: float, on_kept: OnValue, on_refusal: OnRefusal
    ) -> Publish:
        """Return the query that publishes keys for a user, who runs it, and remember them until they are withdrawn:
        `on_kept` is called when that is on disk, or at once where nothing is published again.

        A user's own record is remembered with them; the default one, which an empty one stands for, is looked up each
        time, as it may change.
        """
        record = record or self._local.default_record
        kept = b"" if record in (self._local.provider_record, self._local.default_record) else record
        if self._settings.republish:
            self._remembered.put([(key, 0.0) for key in keys], kept, now, on_kept, on_refusal)
        else:
            on_kept(None, now)
        self._walk_if_idle(now)
        return self._query(keys, record, kept)

    def withdraw(self, keys: list[bytes], on_value: OnValue, on_refusal: OnRefusal, deadline: float) -> None:
        """Forget keys."""
        for key in keys:
            self._active.pop(key, None)
        self._remembered.drop(keys, on_value, on_refusal, deadline)

    def flush(self, now: float) -> None:
        """Have the store write down when keys were published."""
        self._remembered.flush(now)

    # Publishing ---------------------------------------------------------------------------------------------------

    def _publish(self, keys: list[bytes], kept: bytes, on_end: OnEnd, now: float) -> None:
        """Publish keys once more; in our own store as well, which would forget them as all others do."""
        record = kept or self._local.default_record
        self._store.ask(PutProvider, keys, record, on_value=_nothing_said, deadline=now + STORE_TIMEOUT)
        query = self._query(keys, record, kept)
        self._runner.start(query, on_end, now, now + self._period)

    def _query(self, keys: list[bytes], record: bytes, kept: bytes) -> Publish:
        settings = self._settings
        query = Publish(
            keys,
            record,
            self._lookup,
            may_live=self._contacts.may_live,
            width=settings.bucket_size,
            reach=self._reach(),
            rate=settings.publish_rate,
        )
        if settings.republish:
            self._active.update(dict.fromkeys(keys, query))
            query.on_published = partial(self._on_published, query, kept)
        return query

    def _lookup(self, key: bytes, width: int, now: float) -> Lookup:
        return self._runner.lookup(key, now, width, prompt=True)

    def _reach(self) -> int:
        """Return the distance within which about k nodes live, as seen from our own neighbourhood."""
        own = int.from_bytes(self._local.node_id, "big")
        near = self._contacts.table.nearest(self._local.node_id, self._settings.bucket_size)
        return near[-1].number ^ own if len(near) == self._settings.bucket_size else _END

    def _on_published(self, query: Publish, kept: bytes, key: bytes, nodes: int, now: float) -> None:
        """Have it written down; a key that went out with a default record of before is due again at once."""
        if self._active.get(key) is not query:
            return
        del self._active[key]
        if not nodes:
            self._contacts.counters["keys_sent_to_nobody"] += 1
            self._sweep_later(now)
            return
        self._contacts.counters["keys_published"] += 1
        is_current = kept or query.record == self._local.default_record
        if not is_current:
            self._sweep_later(now)
        self._remembered.published(key, now + self._local.unix_offset if is_current else 0.0, kept, now)

    def _sweep_later(self, now: float) -> None:
        if not self._sweep_is_set:
            self._sweep_is_set = True
            self._after(_RETRY, now, self._sweep)

    # The walk -----------------------------------------------------------------------------------------------------

    def _walk_if_idle(self, now: float) -> None:
        """Begin the walk and the checks, once there is something to visit."""
        if self.running and not self._walking:
            self._walking = True
            unix = now + self._local.unix_offset
            self._at = int(unix / self._period * _SLICES) % _SLICES
            self._after(self._period / _SLICES, now, self._step)
            self._after(self._settings.check_every, now, self._check_sample)

    def _step(self, now: float) -> None:
        start, end = self._at * _END // _SLICES, (self._at + 1) * _END // _SLICES
        self._at = (self._at + 1) % _SLICES
        self._visit(start, end, _nothing, now)
        self._after(self._period / _SLICES, now, self._step)

    def _sweep(self, now: float) -> None:
        self._sweep_is_set = False
        if self._sweeping:  # it may be past what is overdue by now
            self._sweep_later(now)
            return
        self._sweeping = True
        self._visit(0, _END, self._swept, now)

    def _swept(self, _now: float) -> None:
        self._sweeping = False

    def _visit(self, start: int, end: int, then: Action, now: float) -> None:
        """Publish the keys from start to before end that are due, page by page."""

        def on_page(page: Page | None, at: float) -> None:
            if page is None:
                self._after(_RETRY, at, lambda later: self._visit(start, end, then, later))
                return
            if page.rows:
                self._walk_if_idle(at)
            here = [row for row in page.rows if int.from_bytes(row[0], "big") < end]
            following = int.from_bytes(here[-1][0], "big") + 1 if len(here) == _PAGE else end

            def go_on(_complete: bool, later: float) -> None:
                if following < end and self.running:
                    self._visit(following, end, then, later)
                else:
                    then(later)

            self._publish_due(page, here, go_on, at)

        self._remembered.page(start, _PAGE, on_page, now)

    def _publish_due(self, page: Page, rows: list[Row], on_end: OnEnd, now: float) -> None:
        """Publish those keys of a page that are due, one record after the other, unless they are on their way
        already, or withdrawn, by the time it is their turn."""
        unix = now + self._local.unix_offset
        by_record: dict[bytes, list[bytes]] = {}
        for row in rows:
            if self._is_due(row, unix):
                by_record.setdefault(row[2], []).append(row[0])

        def next_record(complete: bool, at: float) -> None:
            while by_record and self.running:
                kept, due = by_record.popitem()
                keys = [key for key in due if page.holds(key) and key not in self._active]
                if keys:
                    self._publish(keys, kept, next_record, at)
                    return
            on_end(complete, at)

        next_record(True, now)

    def _is_due(self, row: Row, unix: float) -> bool:
        """Tell whether a key would be too old when the walk comes to it next, or was published before the default
        record, with which it is, changed.

        How long ago a time of the future is nobody knows: the clock was ahead then. A seq is a time in whole seconds,
        so a key published within the same second may have gone out before.
        """
        key, published, kept = row
        if not 0 <= unix - published < _LONGEST * self._period - self._wait(key):
            return True
        return not kept and published - 1 < self._local.default_seq <= unix

    def _wait(self, key: bytes) -> float:
        """Return in how many seconds the walk comes to a key: after its step has begun, in a whole turn."""
        step = int.from_bytes(key, "big") * _SLICES // _END
        return (step - self._at) % _SLICES * self._period / _SLICES

    # The check ----------------------------------------------------------------------------------------------------

    def _check_sample(self, now: float) -> None:
        self._after(self._settings.check_every, now, self._check_sample)
        self._check.run(now)

    def _adapt(self, halving: float, now: float) -> None:
        """Publish each key again in the time in which half of its holders leave."""
        if not self.running:
            return
        period = min(max(halving, self._settings.republish_min), self._settings.republish_every)
        shorter = period < self._period
        self._period = period
        if shorter:
            self._sweep(now)

    def _after(self, seconds: float, now: float, action: Callable[[float], None]) -> None:
        run = self._run

        def act(at: float) -> None:
            if run == self._run and self.running:
                action(at)

        self._timers.at(now + seconds, act)


def _nothing_said(_value: Any, _now: float) -> None:
    """Our own store is told again with the next publication."""


def _nothing(_now: float) -> None:
    """The walk goes on by its timer."""


def _unheard(_complete: bool, _now: float) -> None:
    """Nobody waits for this publication."""
