"""This node as the other actors see it: life, socket and records (behaviour.md, "Local record and address")."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from codexdht.errors import ApiError, NotRunning, StorageFull
from codexdht.identity import PrivateKey
from codexdht.messages.internal import (
    Actor,
    AddressVoted,
    ClockSet,
    Close,
    Done,
    Failed,
    Hello,
    Life,
    LocalRecords,
    Message,
    NodeLife,
    Open,
    UpdateRecord,
)
from codexdht.messages.machine import Outbox
from codexdht.records import Endpoint
from codexdht.wire import local
from codexdht.wire.settings import WireSettings

_FULL_PAUSE: Final = 10.0


class Presence(ABC):
    """The half of the wire machine that has nothing to do with peers.

    The shell keeps its sockets as `wants_socket` says, telling so by `socket_bound`, `socket_failed` and
    `socket_closed`. `_configure_at` is when the configured addresses are to be announced after all, the disk having
    been full.
    """

    def __init__(
        self,
        key: PrivateKey,
        state: local.LocalState,
        settings: WireSettings,
        save: local.Save = local.keep_nothing,
    ) -> None:
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.wants_socket = False
        self.life = Life.UNKNOWN
        self._settings = settings
        self._unix_offset = 0.0
        self._bound: list[Endpoint] | None = None
        self._opening: list[Open] = []
        self._closing: list[Close] = []
        self._local = local.LocalRecords(key, state, settings, save)
        self._configure_at: float | None = None
        self._handlers: dict[type[Any], Callable[[Any, float], None]] = {
            Hello: self._hello,
            NodeLife: self._node_life,
            ClockSet: self._clock_set,
            Open: self._open,
            Close: self._close,
            UpdateRecord: self._update_record,
            AddressVoted: self._address_voted,
        }

    @abstractmethod
    def record_changed(self) -> None:
        """Called when the DHT record has changed, before anybody is told."""

    @abstractmethod
    def closed(self) -> None:
        """Called when the sockets are closed."""

    def boot(self, now: float) -> None:
        """See Machine."""
        self._configure(now)
        self._records_changed()
        self.outbox.broadcast(Actor.WIRE, Hello(Actor.WIRE))

    def is_idle(self) -> bool:
        """See Machine."""
        return not self._opening and not self._closing

    def _hello(self, hello: Hello, _now: float) -> None:
        actor = Actor(hello.actor)
        self.outbox.send(actor, NodeLife(Actor.WIRE, self.life))
        self.outbox.send(actor, self._local_records())

    def _clock_set(self, clock: ClockSet, _now: float) -> None:
        self._unix_offset = clock.unix_offset

    # Local records --------------------------------------------------------------------------------------------

    def _configure(self, now: float) -> bool:
        """Announce what the configuration says, given where the sockets are or will be; tell whether the record
        changed. When that cannot be saved, the saved record stays until it can."""
        bound = self._bound or [local.parse_listen(text) for text in self._settings.listen]
        self._configure_at = None
        try:
            return self._local.configure(bound, now + self._unix_offset)
        except StorageFull as error:
            self._tell_full(error)
            self._configure_at = now + _FULL_PAUSE
            return False

    def _tell_full(self, error: StorageFull) -> None:
        self.outbox.log("error", StorageFull.code, reason=str(error))

    def tick(self, now: float) -> None:
        """See Machine."""
        if self._configure_at is not None and now >= self._configure_at:
            self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        """Announce what the configuration says if that is still to be done: before what users and voters say then."""
        if self._configure_at is not None and self._configure(now):
            self._records_changed()

    def deadline(self) -> float | None:
        """See Machine."""
        return self._configure_at

    def _local_records(self) -> LocalRecords:
        provider = self._local.provider_record
        return LocalRecords(self._local.record.encoded, b"" if provider is None else provider.encoded)

    def _records_changed(self) -> None:
        self.record_changed()
        records = self._local_records()
        self.outbox.broadcast(Actor.WIRE, records)
        self._tell_others(records)

    def _tell_others(self, message: Message) -> None:
        """Tell the other wire processes, where there are any (`following`)."""
        if self._settings.processes > 1:
            self.outbox.send(Actor.WIRE, message)

    def _update_record(self, update: UpdateRecord, now: float) -> None:
        asker, request = Actor(update.asker), update.request
        unix_time = now + self._unix_offset
        self._catch_up(now)
        try:
            record = self._local.update(update.provider, update.record, update.addresses, unix_time)
        except ApiError as error:
            self.outbox.send(asker, Failed(request, error.code, str(error)))
            return
        self._records_changed()
        self.outbox.send(asker, Done(request, record.encoded))

    def _address_voted(self, voted: AddressVoted, now: float) -> None:
        self._catch_up(now)
        try:
            changed = self._local.vote((voted.host, voted.port), now + self._unix_offset)
        except StorageFull as error:
            self._tell_full(error)
            return
        if changed:
            self.outbox.log("info", "announced address changed", host=voted.host, port=voted.port)
            self._records_changed()

    # Socket and life ------------------------------------------------------------------------------------------

    def _node_life(self, message: NodeLife, _now: float) -> None:
        adopts = message.actor == Actor.API or self.life is Life.UNKNOWN
        if adopts and message.life != Life.UNKNOWN:
            self.life = Life(message.life)
            self.wants_socket = self.life in (Life.OPEN, Life.STARTED)

    def _open(self, message: Open, _now: float) -> None:
        """Open, or go on being open; what is about to be closed is closed first."""
        if self._bound is None or self._closing:
            self._opening.append(message)
        else:
            self._opened(message)
        self.wants_socket = not self._closing

    def _opened(self, message: Open) -> None:
        self.outbox.send(Actor(message.asker), Done(message.request, self._local.record.encoded))

    def socket_bound(self, endpoints: list[Endpoint], now: float) -> None:
        """The sockets are bound to these endpoints, ports as the system gave them."""
        self._bound = endpoints
        for host, port in endpoints:
            self.outbox.log("info", "listening", host=host, port=port)
        if self.life in (Life.UNKNOWN, Life.CLOSED):
            self.life = Life.OPEN
        if self._configure(now):
            self._records_changed()
        self._tell_others(NodeLife(Actor.WIRE, self.life))
        for message in self._opening:
            self._opened(message)
        self._opening.clear()

    def socket_failed(self, text: str, now: float) -> None:  # noqa: ARG002
        """A socket could not be bound; `text` says which and why, in one line."""
        self.wants_socket = False
        self._fail_opening("internal", text)

    def _fail_opening(self, code: str, text: str) -> None:
        for message in self._opening:
            self.outbox.send(Actor(message.asker), Failed(message.request, code, text))
        self._opening.clear()

    def _close(self, message: Close, now: float) -> None:
        self._fail_opening(NotRunning.code, "the node was closed before it was open")
        self._closing.append(message)
        self._give_up_sockets(now)

    def _give_up_sockets(self, now: float) -> None:
        self.wants_socket = False
        if self._bound is None:
            self.socket_closed(now)

    def socket_closed(self, now: float) -> None:  # noqa: ARG002
        """The sockets are closed."""
        self._bound = None
        self.life = Life.CLOSED
        self.closed()
        for message in self._closing:
            self.outbox.send(Actor(message.asker), Done(message.request, None))
        self._closing.clear()
        self.wants_socket = bool(self._opening)
