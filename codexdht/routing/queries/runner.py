"""Runs queries: sends what they want asked, feeds back what comes, and answers their users in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codexdht.errors import DecodeError
from codexdht.identity import lookup_distances
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.records import SignedPeerRecord
from codexdht.routing.calls import OUR_FAULT, Calls, PendingCall
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.nodes import NodesAnswer
from codexdht.routing.pinger import Pinger
from codexdht.routing.queries.lookup import Lookup
from codexdht.routing.queries.publish import Publish
from codexdht.routing.queries.query import FARTHEST, Ask, Query, Shape
from codexdht.routing.timers import Timer

_NO_ROOM_PAUSE = 0.05
_MAX_PROVIDERS = 1000
_MAX_ANSWER = 400
"""Provider records taken of one peer's answer: as many as deployed peers can put into their one datagram. Each costs a
signature check."""
_TOLD = 2

OnEnd = Callable[[bool, float], None]
"""Whether the query is complete, now. Called once: when it ends or is settled, or at its deadline."""


class _Run:
    """One query at work. on_end is None once called; due is when the query wants to be looked at again, whatever comes;
    wake is when a timer will see to that, due or earlier; ends are the timers that end it."""

    __slots__ = ("due", "ends", "on_end", "query", "stopped", "wake")

    def __init__(self, query: Query, on_end: OnEnd) -> None:
        self.query = query
        self.on_end: OnEnd | None = on_end
        self.due: float | None = None
        self.wake: float | None = None
        self.ends: list[Timer] = []
        self.stopped = False

    def answer(self, complete: bool, now: float) -> None:
        """Call on_end, unless it was called before."""
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(complete, now)


class _Context:
    """What a call of a query is about; check: the state of a NODES answer; left: records of a PROVIDERS answer that may
    still come."""

    __slots__ = ("ask", "check", "left", "run")

    def __init__(self, run: _Run, ask: Ask, check: NodesAnswer | None) -> None:
        self.run = run
        self.ask = ask
        self.check = check
        self.left = _MAX_ANSWER


class QueryRunner:
    """The queries at work, `max_queries` of users at most; it listens to their calls."""

    __slots__ = ("_calls", "_contacts", "_local", "_pinger", "_runs", "_settings", "_timers", "last_lookup")

    def __init__(self, core: Core, contacts: Contacts, calls: Calls, pinger: Pinger) -> None:
        self._contacts = contacts
        self._calls = calls
        self._pinger = pinger
        self._local = core.local
        self._timers = core.timers
        self._settings = core.settings
        self._runs: dict[int, _Run] = {}
        self.last_lookup: float | None = None

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def full(self) -> bool:
        """Whether no further query is taken."""
        return len(self._runs) >= self._settings.max_queries

    def lookup(
        self,
        target: bytes,
        now: float,
        width: int | None = None,
        kind: type[Lookup] = Lookup,
        *,
        prompt: bool = False,
    ) -> Lookup:
        """Return a lookup (or a kind of one) that starts from the table's nodes nearest to target; from those that have
        not answered us, or are failing, only where there are too few others. Where nobody has answered yet, it starts
        from the bootstrap nodes, too: who asks right after the start is not told that nothing is there.

        prompt: somebody waits for all of the closest, so more are asked at once, and sent PINGs where that is enough.
        """
        width = self._settings.bucket_size if width is None else width
        lookup = kind(target, self._contacts.own_id, self._shape(width, prompt), self._contacts.appraise)
        table = self._contacts.table
        start = table.closest(target, width)
        if not start:
            lookup.add(self._contacts.bootstrap)
        if len(start) < width:
            start += table.nearest(target, width)
        lookup.add(entry.record for entry in start)
        table.bucket_of(target).refreshed = now
        self.last_lookup = now
        return lookup

    def _shape(self, width: int, prompt: bool) -> Shape:
        settings = self._settings
        shape = Shape(width, settings.alpha, settings.query_calls, settings.alpha_last)
        return shape._replace(told=_TOLD * settings.alpha, scale=self._scale()) if prompt else shape

    def _scale(self) -> int:
        """Return within which distance of any point there are about k nodes: as around ourselves."""
        own = self._contacts.own_id
        near = self._contacts.table.closest(own, self._settings.bucket_size)
        if len(near) < self._settings.bucket_size:
            return FARTHEST
        return near[-1].number ^ int.from_bytes(own, "big")

    def start(
        self, query: Query, on_end: OnEnd, now: float, deadline: float, limit: float | None = None
    ) -> None:
        """Run a query. on_end is called when it ends or at `deadline`; it is stopped at `limit` at the latest."""
        run = _Run(query, on_end)
        self._runs[id(run)] = run
        run.ends.append(self._timers.at(deadline, lambda at: self._on_deadline(run, at)))
        if limit is not None:
            run.ends.append(self._timers.at(limit, lambda at: self._stop(run, at)))
        self._pump(run, now)

    def stop_all(self, now: float) -> None:
        """End every query with what it has."""
        for run in list(self._runs.values()):
            self._stop(run, now)

    def poke(self, query: Query, now: float) -> None:
        """Look at a query again that has learnt something outside of its calls."""
        run = next((run for run in self._runs.values() if run.query is query), None)
        if run is not None:
            self._pump(run, now)

    # The calls' listener ------------------------------------------------------------------------------------------

    def call_answered(self, call: PendingCall, body: Any, _rtt: float, last: bool, now: float) -> None:
        """Feed a packet of an answer to its query."""
        context: _Context = call.context
        query = context.run.query
        if call.kind == Kind.PING:
            self._pinger.heard(call.record, body, now)
        elif body:
            query.on_records(context.ask, self._records(context, body, now), now)
        if last:
            query.on_answer(context.ask, now)
        self._pump(context.run, now)

    def call_failed(self, call: PendingCall, reason: str, now: float) -> None:
        """Tell a query that no answer will come, or that a record could not be sent."""
        context: _Context = call.context
        query = context.run.query
        if isinstance(query, Publish) and context.ask.kind == Kind.ADD_PROVIDER and reason in OUR_FAULT:
            query.on_unsent(context.ask, now)
        else:
            query.on_timeout(context.ask, now)
        self._pump(context.run, now)

    # Inside -------------------------------------------------------------------------------------------------------

    def _pump(self, run: _Run, now: float) -> None:
        if run.stopped:
            return
        query = run.query
        if self._calls.room < self._settings.query_calls * 2:
            self._contacts.counters["queries_waited_for_room"] += 1
            self._wake(run, now + _NO_ROOM_PAUSE)
            return
        for ask in query.next(now):
            self._send(run, ask, now)
        if query.done:
            self._stop(run, now, complete=True)
            return
        if run.on_end is not None and query.settled:
            run.answer(True, now)
        self._wake(run, query.wake(now))

    def _wake(self, run: _Run, due: float | None) -> None:
        """Have the query looked at when that is due. A timer that runs earlier is left to set the next one: most
        requests are answered before their time, and there would be a new timer for each."""
        run.due = due
        if due is None or (run.wake is not None and run.wake <= due):
            return
        run.wake = due
        self._timers.at(due, lambda now: self._woken(run, due, now))

    def _woken(self, run: _Run, when: float, now: float) -> None:
        if run.wake != when or run.stopped:
            return
        run.wake = None
        if run.due is not None and run.due <= now:
            self._pump(run, now)
        else:
            self._wake(run, run.due)

    def _send(self, run: _Run, ask: Ask, now: float) -> None:
        kind, check = ask.kind, None
        if kind == Kind.FIND_NODE_FAST:
            kind = self._contacts.fast.kind_for(ask.record.node_id)
            body, check = _find(ask, kind)
        elif kind == Kind.FIND_NODE:
            body = discv5.encode_find_node([0])
            check = NodesAnswer(kind, (0,), ask.record)
        elif kind == Kind.PING:
            body = discv5.encode_ping(self._local.seq)
        elif kind == Kind.GET_PROVIDERS:
            body = discv5.encode_get_providers(ask.key)
        else:
            body = discv5.encode_add_provider(discv5.AddProvider(ask.key, ask.stored))
        self._calls.ask(ask.record, kind, body, self, context=_Context(run, ask, check), now=now)

    def _records(self, context: _Context, body: list[bytes], now: float) -> list[SignedPeerRecord]:
        contacts = self._contacts
        if context.check is not None:
            nodes = context.check.take(body, contacts.records, contacts.counters)
            contacts.learn(nodes, now)
            return nodes
        if context.run.stopped:
            return []
        if len(body) > context.left:
            contacts.counters["providers_too_many"] += len(body) - context.left
        taken = body[: context.left]
        context.left -= len(taken)
        return self.decode_providers(taken)

    def decode_providers(self, data: list[bytes]) -> list[SignedPeerRecord]:
        """Return the verified records among encoded ones; the others are counted."""
        contacts = self._contacts
        records = []
        for encoded in data[:_MAX_PROVIDERS]:
            try:
                records.append(contacts.records.decode(encoded))
            except DecodeError as error:
                contacts.counters["providers_" + str(error).replace(" ", "_")] += 1
        return records

    def _on_deadline(self, run: _Run, now: float) -> None:
        if run.on_end is not None:
            run.query.on_deadline(now)
            run.answer(False, now)

    def _stop(self, run: _Run, now: float, complete: bool = False) -> None:
        if run.stopped:
            return
        run.stopped = True
        del self._runs[id(run)]
        for timer in run.ends:
            self._timers.cancel(timer)
        run.answer(complete, now)


def _find(ask: Ask, kind: Kind) -> tuple[bytes, NodesAnswer]:
    if kind == Kind.FIND_NODE_FAST:
        return discv5.encode_find_node_fast(ask.about), NodesAnswer(kind, (), ask.record)
    distances = lookup_distances(ask.key, ask.record.node_id)
    return discv5.encode_find_node(distances), NodesAnswer(kind, tuple(distances), ask.record)
