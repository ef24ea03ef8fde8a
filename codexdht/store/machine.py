"""The store actor's logic: messages in, changes to the tables, answers out when the changes are on disk.

Local writes (jobs) and housekeeping run in small steps, one of each a turn, so that no peer's request waits for
more than one step of each.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from codexdht.entropy import Entropy
from codexdht.errors import ApiError, Busy, DecodeError, NotRunning, StorageFull
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import (
    Actor,
    ClockSet,
    Close,
    Done,
    DropProvided,
    Failed,
    GetProviders,
    Hello,
    Life,
    ListProvided,
    LoadTable,
    LocalRecords,
    Message,
    NodeLife,
    PeerReply,
    PeerRequest,
    PutProvided,
    PutProvider,
    RemoveProviders,
    SaveTable,
    Stats,
)
from codexdht.messages.machine import Outbox
from codexdht.store import notes
from codexdht.store.answers import AnswerCache
from codexdht.store.backend import Backend, NoRoom, Table
from codexdht.store.batch import FULL_TEXT, Batch
from codexdht.store.clock import StoreClock
from codexdht.store.layout import CLOCK_ROW
from codexdht.store.local_service import STEP, LocalService, Steps
from codexdht.store.migrations import prepare
from codexdht.store.peer_service import PeerService
from codexdht.store.providers import Providers
from codexdht.store.rules import Outcome
from codexdht.store.settings import StoreSettings

_CLEAN_STEP: Final = 32
"""Entries deleted in one step of housekeeping when nothing else is written: about half a millisecond."""
_MAX_CLEAN: Final = 512
_READERS_INTERVAL: Final = 60.0
_NOTICED: Final = 1.0
"""Smaller steps of the system clock are not worth a line in the log."""


class _Job(NamedTuple):
    asker: int
    request: int
    steps: Steps


class StoreMachine:
    """See the module, and `messages.machine.Machine`.

    Raises StoreError when the store is damaged or of a newer layout; nothing else leaves it.
    """

    def __init__(self, backend: Backend, settings: StoreSettings, entropy: Entropy) -> None:
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        prepare(backend)
        self._backend = backend
        self._settings = settings
        self._life = Life.UNKNOWN
        self._clock = StoreClock(backend.get(Table.META, CLOCK_ROW))
        self._answers = AnswerCache(settings.answer_cache_size)
        self._providers = Providers(backend, settings, self._answers)
        self._peers = PeerService(self._providers, self._answers, settings, entropy, self.counters)
        self._local = LocalService(backend, self._providers, settings)
        self._batch = Batch(backend, settings, self.outbox, self.counters)
        self._jobs: deque[_Job] = deque()
        self._writes_seen = 0
        self._readers_due = 0.0
        self._is_closed = False
        self._providers.is_full = self._batch.is_over_limit
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            PeerRequest: self._on_peer_request,
            ClockSet: self._on_clock,
            Hello: self._on_hello,
            NodeLife: self._on_life,
            LocalRecords: self._on_local_records,
            Stats: self._on_stats,
            GetProviders: self._on_get_providers,
            LoadTable: self._on_load_table,
            ListProvided: self._on_list_provided,
            Close: self._on_close,
            PutProvider: self._writes(self._local.put_provider),
            RemoveProviders: self._writes(self._local.remove_providers),
            SaveTable: self._writes(self._local.save_table),
            PutProvided: self._writes(self._local.put_provided),
            DropProvided: self._writes(self._local.drop_provided),
        }
        backend.release()

    def boot(self, now: float) -> None:  # noqa: ARG002
        """Say Hello."""
        self.outbox.broadcast(Actor.STORE, Hello(Actor.STORE))

    def handle(self, message: Message, now: float) -> None:
        """Take one message; after `stop` it is dropped."""
        if self._is_closed:
            return
        handler = self._handlers.get(type(message))
        if handler is None:
            self.counters["unexpected_message"] += 1
            return
        handler(message, now)

    def tick(self, now: float) -> None:
        """Do a step of a job and of housekeeping, and commit if it is time to. After `stop` there is nothing to do."""
        if self._is_closed:
            return
        if not self._batch.is_blocked(now):
            is_behind = self._batch.is_behind
            if not is_behind:
                self._work(now)
            self._clean(now, 0 if is_behind else _CLEAN_STEP)
        self._save(now)
        self._backend.release()
        if now >= self._readers_due:
            self._readers_due = now + _READERS_INTERVAL
            self._backend.forget_dead_readers()

    def deadline(self) -> float | None:
        """Return when a commit, a job, or something expired is due."""
        times = [self._batch.deadline()]
        if self._batch.is_behind:
            return times[0]
        if self.has_jobs or self._providers.has_doomed:
            times.append(self._batch.blocked_until)
        expiry = self._providers.next_expiry()
        if expiry is not None:
            times.append(max(self._clock.when(expiry), self._batch.blocked_until))
        return min((time for time in times if time is not None), default=None)

    @property
    def has_jobs(self) -> bool:
        """Tell whether local writes wait to be done; peers' announcements may overtake them."""
        return bool(self._jobs)

    def stop(self, now: float) -> None:
        """Put on disk what is not there yet, and close the store."""
        for job in self._jobs:
            self._fail(job.asker, job.request, NotRunning("the store is stopping"))
        self._jobs.clear()
        self._save(now, stopping=True)
        self._backend.close()
        self._is_closed = True

    def is_idle(self) -> bool:
        """`stop` leaves nothing to be done."""
        return True

    # Peers -------------------------------------------------------------------------------------------------

    def _on_peer_request(self, request: PeerRequest, now: float) -> None:
        if request.kind == Kind.GET_PROVIDERS:
            self._on_peer_get(request, now)
        elif request.kind == Kind.ADD_PROVIDER:
            self._on_peer_add(request, now)
        else:
            self.counters["unexpected_message"] += 1

    def _on_peer_get(self, request: PeerRequest, now: float) -> None:
        try:
            bodies = self._peers.get(request, now, self._clock.time(now))
        except DecodeError:
            self.counters["bad_body"] += 1
            return
        self.outbox.send(
            Actor.WIRE,
            PeerReply(
                request.node_id, request.host, request.port, request.request_id, Kind.PROVIDERS, bodies
            ),
        )

    def _on_peer_add(self, request: PeerRequest, now: float) -> None:
        if self._batch.is_blocked(now):
            self.counters[Outcome.DISK_FULL.value] += 1
            return
        try:
            changes = self._peers.add(request, self._clock.time(now), self._clock.unix(now))
            if changes:
                self._batch.changed(now, changes)
        except NoRoom as error:
            self._abandon(now, error)

    # Users, and other actors ---------------------------------------------------------------------------------

    def _on_get_providers(self, message: GetProviders, now: float) -> None:
        try:
            records = self._local.get_providers(message, self._clock.time(now))
        except ApiError as error:
            self._fail(message.asker, message.request, error)
            return
        self._answer(message, records)

    def _on_list_provided(self, message: ListProvided, _now: float) -> None:
        self._answer(message, self._local.list_provided(message))

    def _on_load_table(self, message: LoadTable, _now: float) -> None:
        try:
            entries = notes.load_table(self._backend)
        except ValueError:
            self.outbox.log("warning", "table_snapshot_unreadable")
            entries = []
        self._answer(message, entries)

    def _on_close(self, message: Close, now: float) -> None:
        self._start(_Job(message.asker, message.request, _nothing()), now)

    def _on_stats(self, message: Stats, now: float) -> None:
        self.counters["signature_checks"] = self._peers.checks
        self._answer(message, {"counters": dict(self.counters), "gauges": self._gauges(now)})

    def _gauges(self, now: float) -> dict[str, float]:
        backend = self._backend
        return {
            "records": self._providers.count(),
            "providers": self._providers.count_peers(),
            "source_networks": backend.count(Table.NETWORKS),
            "provided_keys": backend.count(Table.PROVIDED),
            "used_bytes": backend.used_bytes(),
            "file_bytes": backend.file_bytes(),
            "max_bytes": self._settings.max_bytes,
            "full": int(self._providers.is_full or self._batch.is_blocked(now)),
            "cached_answers": len(self._answers),
            "jobs": len(self._jobs),
            "unsaved": self._batch.unsaved,
            "clock_lead": self._clock.lead,
        }

    def _answer(self, message: Any, value: Any) -> None:
        self.outbox.send(Actor(message.asker), Done(message.request, value))

    def _fail(self, asker: int, request: int, error: ApiError) -> None:
        self.counters["requests_failed_" + error.code] += 1
        self.outbox.send(Actor(asker), Failed(request, error.code, str(error)))

    # Life of the node ----------------------------------------------------------------------------------------

    def _on_hello(self, message: Hello, _now: float) -> None:
        self.outbox.send(Actor(message.actor), NodeLife(Actor.STORE, self._life))

    def _on_life(self, message: NodeLife, _now: float) -> None:
        if message.life != Life.UNKNOWN and (message.actor == Actor.API or self._life == Life.UNKNOWN):
            self._life = Life(message.life)

    def _on_local_records(self, message: LocalRecords, _now: float) -> None:
        """Our own records matter here only when they are put under a key."""

    def _on_clock(self, message: ClockSet, now: float) -> None:
        step = self._clock.set(message.unix_offset, now)
        if step != 0:  # the lead has to be on disk with the clock it belongs to
            self._batch.changed(now)
        if abs(step) >= _NOTICED:
            event = "clock_set_back" if step < 0 else "clock_set_ahead"
            self.outbox.log("warning", event, seconds=round(step, 3), records=self._providers.count())

    # Jobs, housekeeping, commits -----------------------------------------------------------------------------

    def _writes(self, steps: Callable[[Any, int, int], Steps]) -> Callable[[Any, float], None]:
        def handle(message: Any, now: float) -> None:
            latest_seq = int(self._clock.unix(now)) + self._settings.max_seq_ahead
            job = _Job(message.asker, message.request, steps(message, self._clock.time(now), latest_seq))
            self._start(job, now)

        return handle

    def _start(self, job: _Job, now: float) -> None:
        """Take a job; its first step is done at once unless others wait."""
        if self._batch.is_blocked(now):
            self._fail(job.asker, job.request, StorageFull(FULL_TEXT))
        elif len(self._jobs) >= self._settings.max_jobs:
            self._fail(job.asker, job.request, Busy("too many writes are waiting in the store"))
        else:
            self._jobs.append(job)
            if len(self._jobs) == 1 and not self._batch.is_behind:
                self._work(now)

    def _work(self, now: float) -> None:
        """Do one step of the oldest job."""
        if not self._jobs:
            return
        job = self._jobs[0]
        self._batch.changed(now, STEP)
        try:
            next(job.steps)
        except StopIteration as end:
            self._batch.answer_when_durable(job.asker, Done(job.request, end.value))
            self._jobs.popleft()
        except NoRoom as error:
            self._abandon(now, error)
        except ApiError as error:
            self._fail(job.asker, job.request, error)
            self._jobs.popleft()

    def _clean(self, now: float, step: int) -> None:
        """Delete some entries that have expired, or belong to removed peers: `step` more than were written since the
        last time, so that the dead never become more than the living leave behind."""
        limit = step + min(self._providers.writes - self._writes_seen, _MAX_CLEAN)
        if limit:
            self._delete(now, limit)
        self._writes_seen = self._providers.writes

    def _delete(self, now: float, limit: int) -> None:
        time = self._clock.time(now)
        expiry = self._providers.next_expiry()
        try:
            if expiry is not None and expiry <= time:
                self._providers.remove_expired(time, limit)
                self._batch.changed(now, limit)
            elif self._providers.has_doomed:
                self._providers.remove_doomed(limit)
                self._batch.changed(now, limit)
        except NoRoom as error:
            self._abandon(now, error)

    def _save(self, now: float, *, stopping: bool = False) -> None:
        """Go on with the commit under way, or begin one if it is time to: its first step is not taken in the turn in
        which the one before it ends, so that no turn becomes long."""
        batch = self._batch
        was_committing = batch.is_committing
        try:
            batch.advance(wait=stopping)
            if not batch.is_committing and (stopping or batch.is_due(now)):
                if batch.has_changes:
                    self._backend.put(Table.META, CLOCK_ROW, self._clock.saved(now))
                batch.commit(self._providers.take_expired())
                if stopping or not was_committing:
                    batch.advance(wait=stopping)
        except NoRoom as error:
            self._abandon(now, error)
        self._providers.is_full = batch.is_over_limit

    def _abandon(self, now: float, error: NoRoom) -> None:
        """The backend has no room: what is not on disk is lost, and whoever waits for it is told."""
        self._batch.abandon(now, error)
        self._providers.reload()
        for job in self._jobs:
            self._fail(job.asker, job.request, StorageFull(FULL_TEXT))
        self._jobs.clear()


def _nothing() -> Steps:
    return
    yield
