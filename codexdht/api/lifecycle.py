"""The life of the node: closed, open, started. The API actor alone decides it.

An operation is a row of messages, each sent when the one before it was answered. Operations run one at a time in the
order in which they were asked for; whoever asks for what is queued last waits for the same run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final

from codexdht.api.pending import Pending, error_of
from codexdht.api.settings import ApiSettings
from codexdht.errors import ApiError, NotRunning, RequestTimeout
from codexdht.messages.internal import Actor, Close, Done, Failed, Life, Message, NodeLife, Open, Start
from codexdht.messages.machine import Outbox


class Operation(Enum):
    """What users may ask for."""

    OPEN = "open"
    START = "start"
    CLOSE = "closeWait"


_STEPS: Final[dict[Operation, tuple[tuple[Actor, Any], ...]]] = {
    Operation.OPEN: ((Actor.WIRE, Open),),
    Operation.START: ((Actor.ROUTING, Start),),
    Operation.CLOSE: ((Actor.ROUTING, Close), (Actor.WIRE, Close), (Actor.STORE, Close)),
}
"""Closing goes inwards: routing saves its table through the store, so the store is flushed last."""

_LEADS_TO: Final = {Operation.OPEN: Life.OPEN, Operation.START: Life.STARTED, Operation.CLOSE: Life.CLOSED}

Settle = Callable[[Pending, ApiError | None], None]


class _Run:
    """One operation in the queue: who waits for it, the steps left, and the first error of a close."""

    __slots__ = ("automatic", "error", "operation", "steps", "waiters")

    def __init__(self, operation: Operation, waiters: list[Pending], automatic: bool) -> None:
        self.operation = operation
        self.waiters = waiters
        self.automatic = automatic
        self.steps = deque(_STEPS[operation])
        self.error: ApiError | None = None


class Lifecycle:
    """Knows the node's life and changes it.

    Invariant: `_sent` is the unanswered message of the first run in the queue, and None exactly when the queue is
    empty. `life` is UNKNOWN only until somebody who knows it, or both the wire and routing, have spoken. `_retry_at` is
    None while a close is queued: who closes the node means it.
    """

    def __init__(
        self, settings: ApiSettings, autostart: bool, outbox: Outbox, numbers: Iterator[int], settle: Settle
    ) -> None:
        """`settle` is called once with every waiter that was not given up before, and the error or None."""
        self.life = Life.UNKNOWN
        self._settings = settings
        self._autostart = autostart
        self._outbox = outbox
        self._numbers = numbers
        self._settle = settle
        self._newborn: set[Actor] = set()
        self._queue: deque[_Run] = deque()
        self._sent: tuple[Actor, Any] | None = None
        self._retry_at: float | None = None

    @property
    def is_opening(self) -> bool:
        """Tell whether the node will be open once the queue is done."""
        return any(run.operation is not Operation.CLOSE for run in self._queue)

    def ask(self, operation: Operation, waiter: Pending, now: float) -> None:
        """Queue an operation, or join the one queued last. `life` must be known."""
        if operation is Operation.CLOSE:
            self._retry_at = None
        if self._queue and self._queue[-1].operation is operation:
            self._queue[-1].waiters.append(waiter)
        else:
            self._enqueue(_Run(operation, [waiter], automatic=False), now)

    def hear(self, message: NodeLife, now: float) -> None:
        """Take what an actor believes: adopt it when nothing is known here; decide when nobody else knows."""
        if self.life is not Life.UNKNOWN:
            return
        if message.life != Life.UNKNOWN:
            self._become(Life(message.life))
            return
        self._newborn.add(Actor(message.actor))
        if self._newborn >= {Actor.WIRE, Actor.ROUTING}:
            self._become(Life.CLOSED)
            if self._autostart:
                self._start_by_itself(now)

    def restarted(self, actor: Actor, now: float) -> None:
        """An actor's process is new: tell it the life, and repeat what it has not answered."""
        self._outbox.send(actor, NodeLife(Actor.API, self.life))
        if self._sent is not None and self._sent[0] is actor:
            self._send(actor, type(self._sent[1]), now)
        self.hear(NodeLife(actor, Life.UNKNOWN), now)

    def answer(self, answer: Done | Failed, now: float) -> bool:
        """Take the answer to the current step; False when it is not one."""
        if self._sent is None or self._sent[1].request != answer.request:
            return False
        self._step_over(error_of(answer) if isinstance(answer, Failed) else None, now)
        return True

    def tick(self, now: float) -> bool:
        """Give up a step that nobody answered; try again to start. Tell whether anything was due."""
        due = self.deadline()
        if due is None or due > now:
            return False
        if self._sent is not None and self._sent[1].deadline <= now:
            actor = self._sent[0].name.lower()
            self._step_over(RequestTimeout(f"the {actor} actor did not answer"), now)
        if self._retry_at is not None and self._retry_at <= now:
            self._retry_at = None
            self._start_by_itself(now)
        return True

    def deadline(self) -> float | None:
        """Return when `tick` is next needed, or None."""
        times = [self._sent[1].deadline] if self._sent else []
        return min([*times, self._retry_at] if self._retry_at is not None else times, default=None)

    def _start_by_itself(self, now: float) -> None:
        for operation in (Operation.OPEN, Operation.START):
            self._enqueue(_Run(operation, [], automatic=True), now)

    def _enqueue(self, run: _Run, now: float) -> None:
        self._queue.append(run)
        if self._sent is None:
            self._advance(now)

    def _advance(self, now: float) -> None:
        """Send the next step, ending runs that have none left or need none."""
        while self._queue:
            run = self._queue[0]
            if self.life is Life.CLOSED and run.operation is Operation.START:
                self._end(run, NotRunning("the node is not open: call open before start"), now)
            elif run.operation is not Operation.CLOSE and self.life >= _LEADS_TO[run.operation]:
                self._end(run, None, now)
            elif run.steps:
                self._send(*run.steps.popleft(), now)
                return
            else:
                self._become(_LEADS_TO[run.operation])
                self._end(run, run.error, now)

    def _send(self, actor: Actor, kind: Any, now: float) -> None:
        message: Message = kind(Actor.API, next(self._numbers), now + self._settings.life_step_timeout)
        self._sent = (actor, message)
        self._outbox.send(actor, message)

    def _step_over(self, error: ApiError | None, now: float) -> None:
        """Go on after a step. A failed one ends opening and starting; closing is carried through all the same."""
        self._sent = None
        run = self._queue[0]
        if error is not None:
            self._outbox.log("warning", "life_step_failed", operation=run.operation.value, error=str(error))
            run.error = run.error or error
            if run.operation is not Operation.CLOSE:
                self._end(run, error, now)
        self._advance(now)

    def _end(self, run: _Run, error: ApiError | None, now: float) -> None:
        self._queue.popleft()
        for waiter in run.waiters:
            if waiter.is_open:
                self._settle(waiter, error)
        is_closing = any(later.operation is Operation.CLOSE for later in self._queue)
        if error is not None and run.automatic and not is_closing:
            self._retry_at = now + self._settings.autostart_retry

    def _become(self, life: Life) -> None:
        if life is not self.life:
            self._outbox.log("info", "node_life", life=life.name.lower())
        self.life = life
        self._outbox.broadcast(Actor.API, NodeLife(Actor.API, life))
