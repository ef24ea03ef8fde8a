"""ZeroMQ between the actors: one PULL inbox of one's own, one PUSH outbox to each of the others.

A batch is one multipart message of two frames: the schema version, and the packed messages (`messages.codec`).
Sends never block. Batches to an actor that is not running wait in its outbox up to the high-water mark and are
delivered when it is back (each request in them carries a deadline); what does not fit is dropped and counted.

Several wire processes have an inbox each. The other actors know them as one actor: `send` gives each process its share.
Among themselves the first of them sends to all others, and these to the first.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import zmq

from codexdht.actors.frames import receive_frames, send_frames
from codexdht.actors.place import ONLY, Place, shares_of
from codexdht.errors import DecodeError
from codexdht.messages.codec import decode_batch, encode_batch
from codexdht.messages.internal import Actor, Message, process_name

SCHEMA_VERSION: Final = b"1"
HIGH_WATER_MARK: Final = 1000


class Mailbox:
    """The ZeroMQ sockets of one actor."""

    def __init__(self, context: zmq.Context[Any], run_dir: Path, actor: Actor, place: Place = ONLY) -> None:
        """Bind the inbox and connect the outboxes; sockets live in run_dir. `place.number` is that of a wire process,
        and 0 for every other actor."""
        self.counters: Counter[str] = Counter()
        self.inbox = context.socket(zmq.PULL)
        self.inbox.set(zmq.LINGER, 0)
        self.inbox.set_hwm(HIGH_WATER_MARK)
        self._path = _path(run_dir, actor, place.number)
        self.inbox.bind(f"ipc://{self._path}")
        self._outboxes = {
            other: [self._connect(context, _path(run_dir, other, number)) for number in numbers]
            for other, numbers in _others(actor, place).items()
        }

    @staticmethod
    def _connect(context: zmq.Context[Any], path: Path) -> zmq.Socket[bytes]:
        outbox: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        outbox.set(zmq.LINGER, 200)
        outbox.set(zmq.RECONNECT_IVL, 10)
        outbox.set(zmq.RECONNECT_IVL_MAX, 100)
        outbox.set_hwm(HIGH_WATER_MARK)
        outbox.connect(f"ipc://{path}")
        return outbox

    def send(self, to: Actor, messages: list[Message]) -> list[Message]:
        """Send a batch; return, and count, what of it had to be dropped."""
        outboxes = self._outboxes[to]
        if len(outboxes) == 1:
            return self._put(outboxes[0], messages)
        dropped: list[Message] = []
        for outbox, share in zip(outboxes, shares_of(messages, len(outboxes)), strict=True):
            if share:
                dropped += self._put(outbox, share)
        return dropped

    def _put(self, outbox: zmq.Socket[bytes], messages: list[Message]) -> list[Message]:
        try:
            send_frames(outbox, (SCHEMA_VERSION, encode_batch(messages)))
        except zmq.Again:
            self.counters["mailbox_full"] += len(messages)
            return messages
        return []

    def receive(self) -> list[Message] | None:
        """Return the messages of one batch, or None if none is waiting."""
        frames = receive_frames(self.inbox)
        if frames is None:
            return None
        if len(frames) != 2 or frames[0] != SCHEMA_VERSION:
            self.counters["mailbox_version"] += 1
            return []
        try:
            return decode_batch(frames[1])
        except DecodeError:
            self.counters["mailbox_undecodable"] += 1
            return []

    def close(self) -> None:
        """Close the sockets; what was sent last still has a moment to leave."""
        self.inbox.close()
        self._path.unlink(missing_ok=True)
        for outboxes in self._outboxes.values():
            for outbox in outboxes:
                outbox.close()


def _others(actor: Actor, place: Place) -> dict[Actor, list[int]]:
    """Return the numbers of the processes of every actor that this one sends to."""
    numbers = {other: [0] for other in Actor if other is not actor}
    if actor is not Actor.WIRE:
        numbers[Actor.WIRE] = list(range(place.processes))
    elif place.processes > 1:
        numbers[Actor.WIRE] = [0] if place.number else list(range(1, place.processes))
    return numbers


def _path(run_dir: Path, actor: Actor, number: int) -> Path:
    return run_dir / f"{process_name(actor, number)}.inbox"
