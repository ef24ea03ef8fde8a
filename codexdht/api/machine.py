"""The API actor's logic: one reply to every request, in time, whatever the request and whoever is dead.

A request is decoded, planned (`methods`) and waits in `PendingTable` for the answers of actors. It is answered when
they are complete, when the first of them fails, or at its time; until then it is open, and `_reply` closes it: so no
request gets two replies. Requests that need to know what this actor does not know yet (the life of the node, its own
records: for some milliseconds after a start) are parked and planned again when it has been told.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from codexdht.api.lifecycle import Lifecycle
from codexdht.api.methods import METHODS, NAMES, OPERATIONS, Ask, Local, Need, Plan, decode_nothing
from codexdht.api.pending import Answer, Envelope, Pending, PendingTable
from codexdht.api.request import (
    DECODING_ERRORS,
    Request,
    decode_request,
    encode_error,
    encode_result,
    envelope_size,
)
from codexdht.api.settings import ApiSettings
from codexdht.api.views import RecordViews
from codexdht.entropy import Entropy, SystemEntropy
from codexdht.errors import (
    ApiError,
    BadRequest,
    Busy,
    InvalidParams,
    NotRunning,
    RequestTimeout,
    UnknownMethod,
)
from codexdht.messages import internal
from codexdht.messages.internal import (
    Actor,
    Done,
    Failed,
    Hello,
    Life,
    LocalRecords,
    Message,
    NodeLife,
    process_name,
)
from codexdht.messages.machine import Outbox, earlier, reply_margin

_STOP_SECONDS: Final = 2.0
"""How long requests may still wait after `stop`; the reactor ends half a second later."""
_STOPPING: Final = "the node is shutting down"

Resume = Callable[[float], None]


class ApiMachine:
    """See the module. `replies` holds (envelope, reply) pairs until the shell has sent them."""

    def __init__(
        self,
        settings: ApiSettings,
        *,
        autostart: bool,
        entropy: Entropy | None = None,
        info: Mapping[str, Any] | None = None,
        wire_processes: int = 1,
    ) -> None:
        """`info` is what the shell wants to be part of `stats`: process ids, version, folders. It may change."""
        self._others = _processes(wire_processes)
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.replies: list[tuple[Envelope, bytes]] = []
        self._settings = settings
        self._info = info if info is not None else {}
        # Numbers go on where no earlier process of this actor has been: a late answer to it must not fit here.
        start = (entropy or SystemEntropy()).getrandbits(48) << 14
        self._numbers = itertools.count(start)
        self._pending = PendingTable(settings.max_pending, settings.max_pending_bytes)
        self._parked: list[tuple[Pending, Need, Resume]] = []
        self._views = RecordViews(settings.view_cache_size)
        self._local = Local(self._views)
        self._knows_records = False
        self._stopping = False
        self._life = Lifecycle(settings, autostart, self.outbox, self._numbers, self._settle)
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            Hello: self._hello,
            NodeLife: self._node_life,
            LocalRecords: self._local_records,
            Done: self._answer,
            Failed: self._answer,
            internal.Stats: self._own_stats,
            internal.ClockSet: lambda _message, _now: None,
        }

    # Requests -------------------------------------------------------------------------------------------------

    def receive_request(self, envelope: Envelope, payload: list[bytes], now: float) -> None:
        """Take a request: `payload` is the frames behind the empty delimiter, `envelope` those up to and with it."""
        self.counters["requests"] += 1
        try:
            size = envelope_size(envelope) + sum(map(len, payload))
            request = decode_request(payload, self._settings.max_request_size)
            pending = self._admit(envelope, request, size, now)
        except ApiError as error:
            self._send(envelope, encode_error(error), error)
            return
        try:
            self._dispatch(request, pending, now)
        except ApiError as error:
            self._fail(pending, error)

    def _admit(self, envelope: Envelope, request: Request, size: int, now: float) -> Pending:
        """Give a request its place and its time."""
        limit = self._settings.max_timeout
        timeout = (
            request.timeout if request.timeout is not None else min(self._settings.default_timeout, limit)
        )
        if timeout > limit:
            raise BadRequest(f"timeout is {timeout:g} s; {limit:g} s are the limit")
        if self._stopping:
            raise NotRunning(_STOPPING)
        if not self._pending.has_room(size):
            raise Busy("too many requests are waiting; try again")
        margin = reply_margin(self._settings.reply_margin, timeout)
        pending = Pending(envelope, request.method, now + timeout - margin, now + timeout - 2 * margin, size)
        self._pending.add(pending)
        return pending

    def _dispatch(self, request: Request, pending: Pending, now: float) -> None:
        name = request.method
        method = METHODS.get(name)
        if method is not None:
            given = _decode(method.decode, request)
            self._when(
                method.needs, pending, lambda _: self._follow(method.plan(given, self._local), pending), now
            )
            return
        operation = OPERATIONS.get(name)
        if operation is None and name != "stats":
            raise UnknownMethod(f"there is no method {name[:80]!r}; there are {', '.join(NAMES)}")
        _decode(decode_nothing, request)
        if operation is None:
            self._follow(self._stats_plan(), pending)
        else:
            self._when(Need.LIFE, pending, lambda now: self._life.ask(operation, pending, now), now)

    def _when(self, needs: Need, pending: Pending, resume: Resume, now: float) -> None:
        """Go on with a request if what it needs is there, park it if that is not known; raises NotRunning."""
        if self._is_unknown(needs):
            self._parked.append((pending, needs, resume))
            return
        if self._life.life is Life.CLOSED and Need.OPEN in needs:
            raise NotRunning("the node is not open: call open and start")
        resume(now)

    def _is_unknown(self, needs: Need) -> bool:
        if not self._knows_records and Need.RECORDS in needs:
            return True
        if self._life.life is Life.UNKNOWN:
            return bool(needs & (Need.LIFE | Need.OPEN))
        return self._life.life is Life.CLOSED and self._life.is_opening and Need.OPEN in needs

    def _unpark(self, now: float) -> None:
        """Go on with the parked requests that know enough by now."""
        parked, self._parked = self._parked, []
        for pending, needs, resume in parked:
            if not pending.is_open:
                continue
            try:
                self._when(needs, pending, resume, now)
            except ApiError as error:
                self._fail(pending, error)

    def _follow(self, plan: Plan, pending: Pending) -> None:
        pending.finish = plan.finish
        for ask in plan.asks:
            self._ask(ask, pending)
        if not plan.asks:
            self._finish(pending)

    def _ask(self, ask: Ask, pending: Pending) -> None:
        number = next(self._numbers)
        message: Message = ask.kind(Actor.API, number, pending.deadline, *ask.fields)
        self._pending.expect(pending, number, ask.to, message)
        self.outbox.send(ask.to, message)

    # Replies --------------------------------------------------------------------------------------------------

    def _finish(self, pending: Pending, cut_short: ApiError | None = None) -> None:
        """Answer with what there is: every answer, or at the deadline some. `cut_short` is said in place of a timeout
        where that has not come yet."""
        try:
            if pending.finish is None:
                raise self._too_early(pending)
            self._reply(pending, encode_result(pending.finish(pending.answers)), None)
        except RequestTimeout as error:
            self._fail(pending, cut_short or error)
        except ApiError as error:
            self._fail(pending, error)

    def _too_early(self, pending: Pending) -> RequestTimeout:
        if self._life.life is Life.UNKNOWN or not self._knows_records:
            return RequestTimeout("the actors of the node are still starting")
        return RequestTimeout(f"{pending.method} is not done yet, but goes on")

    def _settle(self, pending: Pending, error: ApiError | None) -> None:
        """Answer a request for an operation on the node's life."""
        self._reply(pending, encode_error(error) if error else encode_result(None), error)

    def _fail(self, pending: Pending, error: ApiError) -> None:
        self._reply(pending, encode_error(error), error)

    def _reply(self, pending: Pending, reply: bytes, error: ApiError | None) -> None:
        self._pending.close(pending)
        self._send(pending.envelope, reply, error)

    def _send(self, envelope: Envelope, reply: bytes, error: ApiError | None) -> None:
        if error is not None:
            self.counters[f"error_{error.code}"] += 1
        self.replies.append((envelope, reply))

    # Messages of actors ---------------------------------------------------------------------------------------

    def handle(self, message: Message, now: float) -> None:
        """Take one message."""
        handler = self._handlers.get(type(message))
        if handler is None:
            self.counters["unexpected_message"] += 1
            return
        handler(message, now)

    def _answer(self, answer: Done | Failed, now: float) -> None:
        pending = self._pending.answer(answer)
        if pending is not None:
            first_failed = answer.request == pending.numbers[0] and isinstance(answer, Failed)
            if pending.owed == 0 or first_failed:
                self._finish(pending)
        elif self._life.answer(answer, now):
            self._unpark(now)
        else:
            self.counters["late_answer"] += 1

    def _hello(self, hello: Hello, now: float) -> None:
        """An actor is new: it owes the answers to what it was asked, and has forgotten so."""
        actor = Actor(hello.actor)
        self._life.restarted(actor, now)
        for message in self._pending.owed_by(actor):
            self.counters["repeated_request"] += 1
            self.outbox.send(actor, message)
        self._unpark(now)

    def _node_life(self, message: NodeLife, now: float) -> None:
        self._life.hear(message, now)
        self._unpark(now)

    def _local_records(self, records: LocalRecords, now: float) -> None:
        self._local.record = records.record
        self._local.provider_record = records.provider_record
        self._knows_records = True
        self._unpark(now)

    # Statistics -----------------------------------------------------------------------------------------------

    def _stats_plan(self) -> Plan:
        asks = [Ask(actor, internal.Stats, (number,)) for actor, number in self._others.values()]
        return Plan(asks, self._merged)

    def _merged(self, answers: list[Answer]) -> dict[str, Any]:
        """Return the statistics of all actors, naming those that have not answered."""
        answered = {
            name: answer.value
            for name, answer in zip(self._others, answers, strict=True)
            if isinstance(answer, Done)
        }
        return {
            "life": self._life.life.name.lower(),
            "actors": answered | {"api": self._counts()},
            "missing": [name for name in self._others if name not in answered],
            "info": dict(self._info),
        }

    def _counts(self) -> dict[str, Any]:
        gauges = {
            "pending": self._pending.count,
            "pending_bytes": self._pending.size,
            "parked": len(self._parked),
            "views": len(self._views),
        }
        return {"counters": dict(self.counters), "gauges": gauges}

    def _own_stats(self, stats: internal.Stats, _now: float) -> None:
        self.outbox.send(Actor(stats.asker), Done(stats.request, self._counts()))

    # Time -----------------------------------------------------------------------------------------------------

    def boot(self, now: float) -> None:  # noqa: ARG002
        """Say Hello; everybody answers with what this actor should know."""
        self.outbox.broadcast(Actor.API, Hello(Actor.API))

    def tick(self, now: float) -> None:
        """Answer every request whose time is over; go on with the life of the node."""
        for pending in self._pending.due(now):
            self._finish(pending, NotRunning(_STOPPING) if now < pending.reply_at else None)
        self._parked = [item for item in self._parked if item[0].is_open]
        if self._life.tick(now):
            self._unpark(now)

    def deadline(self) -> float | None:
        """Return when `tick` is next needed, or None."""
        return earlier(self._pending.deadline(), self._life.deadline())

    def stop(self, now: float) -> None:
        """Take no further requests; those that wait have 2 s left."""
        self._stopping = True
        self._pending.hasten(now + _STOP_SECONDS)

    def is_idle(self) -> bool:
        """Tell whether every request is answered."""
        return self._pending.count == 0


def _processes(wire_processes: int) -> dict[str, tuple[Actor, int]]:
    """Return the other processes of the node by name: actor and number."""
    wires = [(Actor.WIRE, number) for number in range(wire_processes)]
    return {process_name(*process): process for process in (*wires, (Actor.ROUTING, 0), (Actor.STORE, 0))}


def _decode(decode: Callable[[msgspec.Raw], Any], request: Request) -> Any:
    """Return the typed parameters of a request. Raises InvalidParams naming method and place."""
    try:
        return decode(request.params)
    except msgspec.ValidationError as error:
        raise InvalidParams(f"{request.method}: {error}") from None
    except DECODING_ERRORS as error:
        raise InvalidParams(f"{request.method}: params cannot be read: {error}") from None
