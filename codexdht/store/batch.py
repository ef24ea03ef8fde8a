"""Commits: when they are made, who waits for them, and what happens when there is no room for one."""

from __future__ import annotations

from collections import Counter
from typing import Final

from codexdht.errors import StorageFull
from codexdht.messages.internal import Actor, Done, Failed
from codexdht.messages.machine import Outbox
from codexdht.store.backend import Backend, NoRoom
from codexdht.store.settings import StoreSettings

FULL_TEXT: Final = "the provider store has no room; see its log"
_RETURN_SHARE: Final = 0.98


class Batch:
    """The changes since the last commit was started, and the answers that wait until they are on disk.

    Invariant: an answer to a local write leaves only when the commit that holds its changes is complete, and turns into
    `storage_full` when that commit fails; `_leaving` are those of the commit under way. `is_over_limit` is decided at
    commits; a batch is small against the reserve that the backend has above the limit. `blocked_until` is set when the
    backend itself found no room.
    """

    def __init__(
        self, backend: Backend, settings: StoreSettings, outbox: Outbox, counters: Counter[str]
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._outbox = outbox
        self._counters = counters
        self._answers: list[tuple[Actor, Done | Failed]] = []
        self._since: float | None = None
        self._changes = 0
        self._leaving: list[tuple[Actor, Done | Failed]] = []
        self._leaving_changes = 0
        self._leaving_expired = 0
        self._blocked_until: float | None = None
        self.is_committing = False
        self.is_over_limit = backend.used_bytes() > settings.max_bytes

    def changed(self, now: float, changes: int = 1) -> None:
        """Note that something was written."""
        self._changes += changes
        if self._since is None:
            self._since = now

    def answer_when_durable(self, asker: int, answer: Done | Failed) -> None:
        """Send an answer with the next commit."""
        self._answers.append((Actor(asker), answer))

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to commit, if no commit is under way."""
        if self._answers or self._changes >= self._settings.max_batch:
            return True
        return self._since is not None and now >= self._since + self._settings.commit_interval

    @property
    def has_changes(self) -> bool:
        """Tell whether the next commit has anything to write."""
        return self._since is not None

    @property
    def is_behind(self) -> bool:
        """Tell whether whatever can wait should, until the commit under way is complete."""
        return self.is_committing and self._changes >= self._settings.max_batch

    @property
    def unsaved(self) -> int:
        """How many changes are not on disk."""
        return self._changes + self._leaving_changes

    @property
    def blocked_until(self) -> float:
        """When writes may be tried again; 0 when they may now."""
        return self._blocked_until or 0.0

    def deadline(self) -> float | None:
        """Return when the commit under way goes on (0: at once), or the next one is due if nothing else happens."""
        if self.is_committing:
            return None if self._backend.is_waiting else 0.0
        return None if self._since is None else self._since + self._settings.commit_interval

    def is_blocked(self, now: float) -> bool:
        """Tell whether writes are to be refused, because one failed for want of room a moment ago."""
        return self._blocked_until is not None and now < self._blocked_until

    def commit(self, expired: int) -> None:
        """Begin to make the changes durable; `advance` goes on with it. `expired` of them are records that were deleted
        at their time, counted once that is so. Raises NoRoom when there is no room."""
        self._leaving, self._answers = self._answers, []
        if self._since is None:
            self._send_answers()
            return
        self.is_committing = True
        self._leaving_changes, self._changes, self._since = self._changes, 0, None
        self._leaving_expired = expired
        self._backend.start_commit()

    def advance(self, *, wait: bool = False) -> None:
        """Go on with the commit under way, and send its answers when it is complete. Raises NoRoom.

        Waits for the disk if it is told to, or when more was changed meanwhile than memory should hold.
        """
        wait = wait or self._changes >= self._settings.max_unsaved
        if not self.is_committing or not self._backend.advance(wait=wait):
            return
        self.is_committing = False
        self._leaving_changes = 0
        self._counters["commits"] += 1
        self._counters["providers_expired"] += self._leaving_expired
        if self._blocked_until is not None:
            self._blocked_until = None
            self._outbox.log("info", "storage_available")
        self._check_limit()
        self._send_answers()

    def abandon(self, now: float, error: NoRoom) -> None:
        """Forget the changes; whoever waits for them learns that there is no room."""
        self._backend.rollback()
        self._counters["changes_lost"] += self.unsaved
        if self._blocked_until is None:
            self._outbox.log("error", "storage_full", reason=str(error))
        self._blocked_until = now + self._settings.full_retry
        self.is_committing = False
        self._since, self._changes, self._leaving_changes = None, 0, 0
        for asker, answer in self._leaving + self._answers:
            self._outbox.send(asker, Failed(answer.request, StorageFull.code, FULL_TEXT))
        self._leaving, self._answers = [], []

    def _send_answers(self) -> None:
        for asker, answer in self._leaving:
            self._outbox.send(asker, answer)
        self._leaving = []

    def _check_limit(self) -> None:
        used, limit = self._backend.used_bytes(), self._settings.max_bytes
        if not self.is_over_limit and used > limit:
            self.is_over_limit = True
            self._outbox.log("error", "storage_full", reason="limit reached", used=used, limit=limit)
        elif self.is_over_limit and used <= limit * _RETURN_SHARE:
            self.is_over_limit = False
            self._outbox.log("info", "storage_available", used=used, limit=limit)
