"""The check of a sample of what this node provides: who still holds it."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Final

from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.queries.holders import CountHolders
from codexdht.routing.queries.query import FARTHEST
from codexdht.routing.queries.runner import QueryRunner
from codexdht.routing.remembered import STORE_TIMEOUT, Page, Remembered

_CHECK_TIME: Final = 10.0
_YOUNG: Final = 60.0
_HALF: Final = 0.5

IsBusy = Callable[[bytes], bool]
"""Whether a key is being published, or nothing is to be."""
OnLost = Callable[[bytes, bytes, float], None]
"""Key, the record that it is remembered with, now."""
Results = dict[bytes, tuple[float, float] | None]
"""Age in seconds and share of the holders left by drawn key; None until it is known."""
OnHalving = Callable[[float, float], None]
"""Seconds in which half of the holders of a key leave, now."""


class HolderCheck:
    """Looks up a sample of the keys, tells which of them are lost, and how fast holders leave."""

    __slots__ = (
        "_contacts",
        "_entropy",
        "_is_busy",
        "_local",
        "_on_halving",
        "_on_lost",
        "_remembered",
        "_runner",
        "_settings",
        "_timers",
    )

    def __init__(
        self,
        core: Core,
        contacts: Contacts,
        runner: QueryRunner,
        remembered: Remembered,
        *,
        is_busy: IsBusy,
        on_lost: OnLost,
        on_halving: OnHalving,
    ) -> None:
        self._contacts = contacts
        self._runner = runner
        self._remembered = remembered
        self._timers = core.timers
        self._local = core.local
        self._settings = core.settings
        self._entropy = core.entropy
        self._is_busy = is_busy
        self._on_lost = on_lost
        self._on_halving = on_halving

    def run(self, now: float) -> None:
        """Draw a sample and look it up, within half a minute."""
        results: Results = {}
        for _ in range(self._settings.check_sample):
            self._draw(int.from_bytes(self._entropy.randbytes(32), "big"), results, now)
        self._timers.at(now + STORE_TIMEOUT + 2 * _CHECK_TIME, lambda at: self._evaluate(results, at))

    def _draw(self, start: int, results: Results, now: float) -> None:
        """Draw the first key that is not below start, or the lowest one where there is none."""

        def on_page(page: Page | None, at: float) -> None:
            if page is not None and page.rows:
                self._count(page, results, at)
            elif page is not None and start:
                self._draw(0, results, at)

        self._remembered.page(start, 1, on_page, now)

    def _count(self, page: Page, results: Results, now: float) -> None:
        """Look the key of a page up, unless it was drawn before, or has not been published yet."""
        key, published, kept = page.rows[0]
        if not published or key in results or self._is_busy(key) or not page.holds(key):
            return
        provider = self._provider(kept)
        if provider is None or self._runner.full:
            return
        results[key] = None
        age = now + self._local.unix_offset - published
        query = CountHolders(self._runner.lookup(key, now), FARTHEST, provider, self._contacts.appraise)

        def on_end(complete: bool, at: float) -> None:
            share = query.share() if complete else None
            if share is None or age < _YOUNG or (not share and self._is_refused(provider)):
                return
            results[key] = age, share
            if share < _HALF and page.holds(key) and not self._is_busy(key):
                self._contacts.counters["keys_found_missing"] += 1
                self._on_lost(key, kept, at)

        self._runner.start(query, on_end, now, now + _CHECK_TIME, now + _CHECK_TIME)

    def _provider(self, kept: bytes) -> bytes | None:
        """Return whose record a key is published with, None where it does not decode any more."""
        records = self._runner.decode_providers([kept or self._local.default_record])
        return records[0].node_id if records else None

    def _is_refused(self, provider: bytes) -> bool:
        """Tell whether a record of this provider that nobody holds may never have been taken: most nodes take none but
        those of their senders."""
        return provider != self._local.node_id

    def _evaluate(self, results: Results, now: float) -> None:
        """Tell the time in which half of the holders leave: those of age a of whom the share s is left halve every
        a * ln 2 / -ln s."""
        known = [result for result in results.values() if result is not None]
        if not known or self._contacts.connectivity.ours:
            return
        age = sum(result[0] for result in known) / len(known)
        share = min(max(sum(result[1] for result in known) / len(known), 0.01), 0.99)
        self._on_halving(age * log(2) / -log(share), now)
