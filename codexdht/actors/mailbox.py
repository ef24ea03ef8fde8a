"""ZeroMQ between the actors: one PULL inbox of one's own, one PUSH outbox to each of the others.

A batch is one multipart message of two frames: the schema version, and the packed messages (`messages.codec`).
Sends never block. Batches to an actor that is not running wait in its outbox up to the high-water mark and are
delivered when it is back (each request in them carries a deadline); what does not fit is dropped and counted.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import zmq

from codexdht.errors import DecodeError
from codexdht.messages.codec import decode_batch, encode_batch
from codexdht.messages.internal import Actor, Message

SCHEMA_VERSION: Final = b"1"
HIGH_WATER_MARK: Final = 1000
_LAST: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
"""Plain numbers: combining the flags of an enumeration costs 1 us."""


class Mailbox:
    """The ZeroMQ sockets of one actor."""

    def __init__(self, context: zmq.Context[Any], run_dir: Path, actor: Actor) -> None:
        """Bind the inbox and connect the outboxes; sockets live in run_dir."""
        self.counters: Counter[str] = Counter()
        self.inbox = context.socket(zmq.PULL)
        self.inbox.set(zmq.LINGER, 0)
        self.inbox.set_hwm(HIGH_WATER_MARK)
        self._path = _path(run_dir, actor)
        self.inbox.bind(f"ipc://{self._path}")
        self._outboxes = {
            other: self._connect(context, run_dir, other) for other in Actor if other is not actor
        }

    @staticmethod
    def _connect(context: zmq.Context[Any], run_dir: Path, other: Actor) -> zmq.Socket[bytes]:
        outbox: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        outbox.set(zmq.LINGER, 200)
        outbox.set(zmq.RECONNECT_IVL, 10)
        outbox.set(zmq.RECONNECT_IVL_MAX, 100)
        outbox.set_hwm(HIGH_WATER_MARK)
        outbox.connect(f"ipc://{_path(run_dir, other)}")
        return outbox

    def send(self, to: Actor, messages: list[Message]) -> bool:
        """Send a batch; false, and counted, when it had to be dropped.

        Frame by frame, as `send_multipart` looks at the type of every frame first; when the first was taken, the second
        is never refused.
        """
        outbox = self._outboxes[to]
        try:
            outbox.send(SCHEMA_VERSION, _MORE)
            outbox.send(encode_batch(messages), _LAST)
        except zmq.Again:
            self.counters["mailbox_full"] += len(messages)
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Return the messages of one batch, or None if no batch is waiting."""
        try:
            frames = self.inbox.recv_multipart(_LAST)
        except zmq.Again:
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
        for outbox in self._outboxes.values():
            outbox.close()


def _path(run_dir: Path, actor: Actor) -> Path:
    return run_dir / f"{actor.name.lower()}.inbox"
