"""The requests of users, which the API actor passes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from codexdht.errors import DecodeError
from codexdht.identity import log_distance
from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind, Pong, TalkRequest
from codexdht.messages.internal import (
    Actor,
    Done,
    DumpTable,
    Failed,
    FindProviders,
    GetProviders,
    Life,
    Lookup,
    PingNode,
    Publish,
    Resolve,
    Talk,
    Withdraw,
)
from codexdht.messages.machine import reply_margin
from codexdht.records import SignedPeerRecord
from codexdht.routing.calls import Calls, PendingCall
from codexdht.routing.contacts import Contacts
from codexdht.routing.core import Core
from codexdht.routing.entry import NEVER, Entry
from codexdht.routing.pinger import Pinger
from codexdht.routing.published import Published
from codexdht.routing.queries import providers as provider_queries
from codexdht.routing.queries.resolve import Resolve as ResolveQuery
from codexdht.routing.queries.runner import QueryRunner
from codexdht.routing.storelink import StoreLink
from codexdht.routing.timers import Timer

_SILENT: Final = ("timeout", "the node does not answer")
_QUERY_AND_STORE: Final = 2
_REFUSALS: Final = {
    "busy": ("busy", "too many requests to peers are in flight"),
    "closed": ("not_running", "the node is not open"),
    "undecodable": ("timeout", "the node's answer does not decode"),
}
"""What users are told of a call that could not be sent, or was answered with nothing of use, by its reason."""
OnRecord = Callable[[SignedPeerRecord, float], None]


class UserRequests:
    """Each request gets one Done or one Failed a little before its deadline at the latest. Queries that come before the
    life of the node is known get none: the API actor, asked by Hello, sends them again behind the life. Publications of
    our own record wait in `_unsigned` until the wire has told what it is, with the keys not withdrawn meanwhile.

    `_asking` are the requests, by asker and number, for which a node is being asked just now.
    """

    __slots__ = (
        "_asking",
        "_calls",
        "_contacts",
        "_counters",
        "_local",
        "_outbox",
        "_pinger",
        "_published",
        "_runner",
        "_settings",
        "_store",
        "_timers",
        "_unsigned",
    )

    def __init__(
        self,
        core: Core,
        contacts: Contacts,
        calls: Calls,
        *,
        runner: QueryRunner,
        pinger: Pinger,
        published: Published,
        store: StoreLink,
    ) -> None:
        self._contacts = contacts
        self._calls = calls
        self._runner = runner
        self._pinger = pinger
        self._published = published
        self._store = store
        self._local = core.local
        self._outbox = core.outbox
        self._settings = core.settings
        self._counters = core.counters
        self._timers = core.timers
        self._asking: dict[tuple[int, int], Timer] = {}
        self._unsigned: list[tuple[Publish, list[bytes]]] = []

    def lookup(self, request: Lookup, now: float) -> None:
        """Find the nodes closest to a target."""
        if self._refused(request):
            return
        query = self._runner.lookup(request.target, now, prompt=True)

        def on_end(complete: bool, _at: float) -> None:
            nodes = [record.encoded for record in query.closest()]
            self._done(request, {"nodes": nodes, "complete": complete})

        self._runner.start(query, on_end, now, *self._times(request, now))

    def resolve(self, request: Resolve, now: float) -> None:
        """Find a node's newest record."""
        if self._refused(request):
            return
        if request.node_id == self._local.node_id:
            self._done(request, self._local.record.encoded if self._local.record is not None else None)
            return

        def on_record(record: SignedPeerRecord | None, _at: float) -> None:
            self._done(request, record.encoded if record is not None else None)

        self._resolve(request, request.node_id, on_record, now)

    def find_providers(self, request: FindProviders, now: float) -> None:
        """Find providers of a key, here and in the network."""
        if self._refused(request):
            return
        limit = request.limit or self._settings.providers_limit
        query = provider_queries.FindProviders(
            self._runner.lookup(request.key, now), limit, self._local.node_id, self._contacts.appraise
        )

        def on_end(complete: bool, _at: float) -> None:
            found = [record.encoded for record in query.providers]
            self._done(request, {"providers": found, "complete": complete})

        def on_local(records: Any, at: float) -> None:
            query.awaits_store = False
            query.add_providers(self._runner.decode_providers(records or []))
            self._runner.poke(query, at)

        deadline, end = self._times(request, now)
        query.awaits_store = True
        self._store.ask(GetProviders, request.key, limit, on_value=on_local, deadline=deadline)
        self._runner.start(query, on_end, now, deadline, end)

    def publish(self, request: Publish, now: float) -> None:
        """Send a record to the nodes closest to each key. The user hears of it when the keys are also remembered."""
        self._publish(request, request.keys, now)

    def _publish(self, request: Publish, keys: list[bytes], now: float) -> None:
        if self._refused(request):
            return
        if not request.record and not self._local.default_record:
            self._unsigned.append((request, keys))
            return
        ended: list[bool] = []

        def on_end(complete: bool, _at: float) -> None:
            ended.append(complete)
            if len(ended) == _QUERY_AND_STORE:
                nodes = [query.sent.get(key, 0) for key in request.keys]
                self._done(request, {"nodes": nodes, "complete": all(ended) and not query.unsent})

        query = self._published.prepare(
            keys,
            request.record,
            now,
            on_kept=lambda _, at: on_end(True, at),
            on_refusal=lambda code, text, _: self._fail(request, code, text),
        )
        self._runner.start(query, on_end, now, self._times(request, now)[0])

    def records_told(self, now: float) -> None:
        """Our own records are known: go on with what has waited for them."""
        waiting, self._unsigned = self._unsigned, []
        for request, keys in waiting:
            self._publish(request, keys, now)

    def withdraw(self, request: Withdraw, now: float) -> None:
        """Publish keys no longer."""
        gone = set(request.keys)
        self._unsigned = [
            (waiting, [key for key in keys if key not in gone]) for waiting, keys in self._unsigned
        ]
        self._published.withdraw(
            request.keys,
            on_value=lambda _, __: self._done(request, None),
            on_refusal=lambda code, text, _: self._fail(request, code, text),
            deadline=self._times(request, now)[0],
        )

    def ping(self, request: PingNode, now: float) -> None:
        """Ping a node."""

        def on_pong(pong: Pong | None, rtt: float, _at: float) -> None:
            if pong is None:
                self._end(request, Failed(request.request, *_SILENT))
            else:
                value = {"seq": pong.seq, "host": pong.host, "port": pong.port, "rtt": rtt}
                self._end(request, Done(request.request, value))

        self._with_node(request, now, lambda record, at: self._pinger.ping(record, at, on_pong))

    def talk(self, request: Talk, now: float) -> None:
        """Send a TALK_REQ to a node."""
        body = discv5.encode_talk_request(TalkRequest(request.protocol, request.payload))
        if len(body) > discv5.MAX_BODY:
            text = f"protocol and request take {len(body)} bytes, of which a packet holds {discv5.MAX_BODY}"
            self._fail(request, "invalid_params", text)
            return

        def ask(record: SignedPeerRecord, at: float) -> None:
            self._calls.ask(record, Kind.TALK_REQ, body, self, context=request, now=at)

        self._with_node(request, now, ask)

    def dump_table(self, request: DumpTable, now: float) -> None:
        """List the routing table."""
        self._done(request, [self._row(entry, now) for entry in self._contacts.table])

    # Listening to TALK_REQ calls ----------------------------------------------------------------------------------

    def call_answered(self, call: PendingCall, body: Any, _rtt: float, _last: bool, _now: float) -> None:
        """Pass the answer of a TALK_REQ on."""
        self._end(call.context, Done(call.context.request, body))

    def call_failed(self, call: PendingCall, reason: str, _now: float) -> None:
        """Say that a TALK_REQ was not answered."""
        self._end(call.context, Failed(call.context.request, *_REFUSALS.get(reason, _SILENT)))

    # Inside -------------------------------------------------------------------------------------------------------

    def _refused(self, request: Any) -> bool:
        if self._local.life is Life.UNKNOWN:
            self._counters["queries_before_life"] += 1
        elif self._local.life is Life.CLOSED:
            self._fail(request, "not_running", "the node is not open")
        elif self._runner.full:
            self._counters["queries_refused_busy"] += 1
            self._fail(request, "busy", "too many queries are at work")
        else:
            return False
        return True

    def _times(self, request: Any, now: float) -> tuple[float, float]:
        """Return when a request is answered with what there is, and when the work for it ends altogether."""
        margin = reply_margin(self._settings.reply_margin, request.deadline - now)
        return request.deadline - margin, request.deadline + self._settings.background_time

    def _with_node(self, request: PingNode | Talk, now: float, then: OnRecord) -> None:
        """Go on with the record of the node that a request names, resolved where only its id is given."""
        if self._refused(request):
            return

        def on_record(record: SignedPeerRecord | None, at: float) -> None:
            if record is None:
                self._fail(request, "timeout", "no node with this id was found")
            elif record.endpoint is None:
                self._fail(
                    request, "invalid_record", "the record has no UDP address that this node can send to"
                )
            elif not self._calls.room:
                self._fail(request, *_REFUSALS["busy"])
            else:
                self._expect(request, at)
                then(record, at)

        try:
            record = self._contacts.records.decode(request.record) if request.record else None
        except DecodeError as error:
            self._fail(request, "invalid_record", f"the record does not hold: {error}")
            return
        node_id = record.node_id if record is not None else request.node_id
        if node_id == self._local.node_id:
            self._fail(request, "invalid_params", "this is our own node")
            return
        known = self._contacts.table.get(node_id)
        if record is None and known is not None:
            record = known.record
        if record is not None:
            on_record(record, now)
        else:
            self._resolve(request, node_id, on_record, now)

    def _expect(self, request: PingNode | Talk, now: float) -> None:
        """A node is asked: see to it that the user hears in time, also when the node takes longer."""
        silence = Failed(request.request, *_SILENT)
        timer = self._timers.at(self._times(request, now)[0], lambda _: self._end(request, silence))
        self._asking[request.asker, request.request] = timer

    def _end(self, request: PingNode | Talk, answer: Done | Failed) -> None:
        """Answer a request for which a node was asked, unless it has been answered."""
        timer = self._asking.pop((request.asker, request.request), None)
        if timer is not None:
            self._timers.cancel(timer)
            self._outbox.send(Actor(request.asker), answer)

    def _resolve(
        self,
        request: Any,
        node_id: bytes,
        on_record: Callable[[SignedPeerRecord | None, float], None],
        now: float,
    ) -> None:
        query = self._runner.lookup(node_id, now, kind=ResolveQuery)
        deadline, end = self._times(request, now)
        self._runner.start(query, lambda _, at: on_record(query.record_of(node_id), at), now, deadline, end)

    def _row(self, entry: Entry, now: float) -> dict[str, Any]:
        return {
            "record": entry.record.encoded,
            "bucket": self._contacts.table.bucket_of(entry.node_id).depth,
            "distance": log_distance(entry.node_id, self._local.node_id),
            "rtt": entry.rtt,
            "rtt_min": entry.rtt_min,
            "reliability": entry.reliability,
            "answers": entry.answers,
            "failures": entry.failures,
            "first_seen": now - entry.first_seen,
            "last_seen": None if entry.last_seen == NEVER else now - entry.last_seen,
        }

    def _done(self, request: Any, value: Any) -> None:
        self._outbox.send(Actor(request.asker), Done(request.request, value))

    def _fail(self, request: Any, code: str, text: str) -> None:
        self._outbox.send(Actor(request.asker), Failed(request.request, code, text))
