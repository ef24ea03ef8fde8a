"""The routing actor's logic: who gets which message, and the life of the node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from codexdht.entropy import Entropy
from codexdht.errors import DecodeError
from codexdht.messages.internal import (
    Actor,
    CallAnswer,
    CallFailed,
    CallSent,
    ClockSet,
    Close,
    Done,
    DumpTable,
    Failed,
    FindProviders,
    Hello,
    Life,
    LocalRecords,
    Lookup,
    Message,
    NodeLife,
    PeerRequest,
    PeerSeen,
    PingNode,
    Publish,
    Resolve,
    Start,
    Stats,
    Talk,
    Withdraw,
)
from codexdht.messages.machine import Outbox, earlier
from codexdht.records import RecordCache, SignedPeerRecord
from codexdht.routing.calls import Calls
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.local import LocalNode
from codexdht.routing.maintenance import Maintenance
from codexdht.routing.nodes import scope_objection
from codexdht.routing.pinger import Pinger
from codexdht.routing.published import Published
from codexdht.routing.queries.runner import QueryRunner
from codexdht.routing.serving import Serving
from codexdht.routing.settings import RoutingSettings
from codexdht.routing.storelink import StoreLink
from codexdht.routing.table import RoutingTable
from codexdht.routing.timers import Timers
from codexdht.routing.users import UserRequests


class RoutingMachine:
    """Routing table, queries and maintenance of one node (see `messages.machine.Machine`).

    records says which IP versions this node can send to. The machines of a simulation may share what it holds.
    """

    def __init__(
        self,
        node_id: bytes,
        settings: RoutingSettings,
        entropy: Entropy,
        bootstrap: list[SignedPeerRecord],
        *,
        records: RecordCache | None = None,
    ) -> None:
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.local = LocalNode(node_id)
        self._settings = settings
        self._timers = Timers()
        records = RecordCache(settings.record_cache) if records is None else records
        bootstrap = [records.decode(record.encoded, verified=True) for record in bootstrap]
        core = Core(self.local, settings, entropy, self.outbox, self.counters, self._timers, records)
        self._contacts = contacts = Contacts(core, bootstrap)
        self._calls = calls = Calls(core, contacts)
        self._store = store = StoreLink(core)
        pinger = Pinger(core, contacts, calls)
        self._runner = runner = QueryRunner(core, contacts, calls, pinger)
        self._serving = Serving(core, contacts)
        self._maintenance = Maintenance(core, contacts, pinger, runner, store)
        self._published = published = Published(core, contacts, runner, store)
        self._users = UserRequests(
            core, contacts, calls, runner=runner, pinger=pinger, published=published, store=store
        )
        self._handlers = self._dispatch()

    @property
    def table(self) -> RoutingTable:
        """The routing table."""
        return self._contacts.table

    def boot(self, now: float) -> None:  # noqa: ARG002
        """Tell everybody that this actor has just started."""
        self.outbox.broadcast(Actor.ROUTING, Hello(Actor.ROUTING))

    def handle(self, message: Message, now: float) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.counters["unexpected_message"] += 1
        else:
            handler(message, now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        self._timers.run(now)
        self._calls.sweep(now)

    def deadline(self) -> float | None:
        """Return when something is due next."""
        return earlier(self._timers.next(), self._calls.deadline())

    def stop(self, now: float) -> None:
        """Save what must not be lost."""
        self._published.flush(now)
        self._maintenance.save(now)

    def is_idle(self) -> bool:
        """What `stop` sends needs no answer."""
        return True

    # Dispatch -----------------------------------------------------------------------------------------------------

    def _dispatch(self) -> dict[type[Any], Callable[[Any, float], None]]:
        users = self._users
        return {
            PeerRequest: self._on_peer_request,
            CallAnswer: self._calls.on_answer,
            CallSent: self._calls.on_sent,
            CallFailed: self._calls.on_failed,
            PeerSeen: self._on_peer_seen,
            Lookup: users.lookup,
            Resolve: users.resolve,
            FindProviders: users.find_providers,
            Publish: users.publish,
            Withdraw: users.withdraw,
            PingNode: users.ping,
            Talk: users.talk,
            DumpTable: users.dump_table,
            Stats: self._on_stats,
            Start: self._on_start,
            Close: self._on_close,
            Done: self._on_done,
            Failed: self._on_failed,
            Hello: self._on_hello,
            NodeLife: self._on_node_life,
            ClockSet: self._on_clock_set,
            LocalRecords: self._on_local_records,
        }

    def _on_peer_request(self, request: PeerRequest, _now: float) -> None:
        if self._settings.client_mode:
            self.counters["peer_requests_in_client_mode"] += 1
        else:
            self._serving.serve(request)

    def _on_peer_seen(self, seen: PeerSeen, now: float) -> None:
        if seen.client_mode:
            self._contacts.forget_client(seen.node_id)
            return
        if not seen.record:
            return
        try:
            record = self._contacts.records.decode(seen.record, verified=True)
        except DecodeError:
            self.counters["peer_seen_bad_record"] += 1
            return
        objection = scope_objection(record.endpoint[0], seen.host) if record.endpoint is not None else ""
        if objection:
            self.counters["peer_seen_" + objection] += 1
            return
        self._contacts.learn((record,), now)
        self._maintenance.greet(record, now)

    def _on_stats(self, request: Stats, _now: float) -> None:
        table = self.table
        gauges = {
            "table_entries": len(table),
            "table_answering": sum(e.answers > 0 and not e.failures for e in table),
            "table_spares": sum(len(bucket.spares) for bucket in table.buckets),
            "table_buckets": len(table.buckets),
            "calls_in_flight": len(self._calls),
            "queries": len(self._runner),
            "store_requests": len(self._store),
            "records_cached": len(self._contacts.records),
            "republish_period": self._published.period,
        }
        value = {"counters": dict(self.counters), "gauges": gauges}
        self.outbox.send(Actor(request.asker), Done(request.request, value))

    def _on_done(self, done: Done, now: float) -> None:
        if not self._store.on_done(done, now):
            self.counters["store_answers_late"] += 1

    def _on_failed(self, failed: Failed, now: float) -> None:
        if not self._store.on_failed(failed, now):
            self.counters["store_answers_late"] += 1

    # Life of the node ---------------------------------------------------------------------------------------------

    def _on_hello(self, hello: Hello, now: float) -> None:
        self.outbox.send(Actor(hello.actor), NodeLife(Actor.ROUTING, self.local.life))
        if hello.actor == Actor.WIRE:
            self._calls.fail_all("lost", now)
        elif hello.actor == Actor.STORE:
            self._store.resend()

    def _on_node_life(self, told: NodeLife, now: float) -> None:
        from_api = told.actor == Actor.API
        if told.life != Life.UNKNOWN and (from_api or self.local.life is Life.UNKNOWN):
            self._live(Life(told.life), now)

    def _on_start(self, request: Start, now: float) -> None:
        self._live(Life.STARTED, now)
        self.outbox.send(Actor(request.asker), Done(request.request, None))

    def _on_close(self, request: Close, now: float) -> None:
        """Stop, and answer when the table is saved, the store has had its time, or there is nothing to save."""

        def on_saved(_value: object, _at: float) -> None:
            self.outbox.send(Actor(request.asker), Done(request.request, None))

        self._live(Life.CLOSED, now)
        self._runner.stop_all(now)
        self._published.flush(now)
        self._maintenance.save(now, on_saved)

    def _on_clock_set(self, clock: ClockSet, now: float) -> None:
        step = clock.unix_offset - self.local.unix_offset
        self.local.unix_offset = clock.unix_offset
        self._published.clock_stepped(step, now)

    def _on_local_records(self, records: LocalRecords, now: float) -> None:
        before = self.local.default_record
        try:
            self.local.update(records, self._contacts.records)
        except DecodeError:
            self.counters["local_records_bad"] += 1
            return
        self._live(self.local.life, now)
        self._users.records_told(now)
        if self.local.default_record != before:
            self._published.record_changed(now)

    def _live(self, life: Life, now: float) -> None:
        """Take the node to be in this state; maintenance runs while it is started and our record is known."""
        self.local.life = life
        if life is not Life.STARTED:
            self._maintenance.stop()
            self._published.stop()
        elif self.local.record is not None:
            self._maintenance.start(now)
            self._published.start(now)
