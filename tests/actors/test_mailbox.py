"""Mailboxes over real ZeroMQ sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from codexdht.actors.mailbox import HIGH_WATER_MARK, SCHEMA_VERSION, Mailbox
from codexdht.messages.internal import Actor, Done, Hello, NodeLife


@pytest.fixture
def open_mailbox(folder: Path) -> Iterator[Callable[[Actor], Mailbox]]:
    """Opens mailboxes in one folder, and closes them with the test."""
    opened: list[Mailbox] = []
    with zmq.Context() as context:

        def open_one(actor: Actor) -> Mailbox:
            opened.append(Mailbox(context, folder, actor))
            return opened[-1]

        yield open_one
        for mailbox in opened:
            mailbox.close()


def receive(mailbox: Mailbox) -> list:
    assert mailbox.inbox.poll(5000), "nothing came"
    messages = mailbox.receive()
    assert messages is not None
    return messages


def test_a_batch_arrives_whole_and_in_order(open_mailbox: Callable[[Actor], Mailbox]) -> None:
    """All messages of one turn for one actor travel as one batch, in their order."""
    wire, store = open_mailbox(Actor.WIRE), open_mailbox(Actor.STORE)
    sent = [Hello(1), NodeLife(1, 2), Done(7, {"key": b"value"})]
    wire.send(Actor.STORE, sent)
    assert receive(store) == sent
    assert store.receive() is None


def test_what_was_sent_before_the_receiver_started_waits_for_it(
    open_mailbox: Callable[[Actor], Mailbox],
) -> None:
    """Start order is free: a batch to an actor that does not run yet is delivered when it does."""
    wire = open_mailbox(Actor.WIRE)
    wire.send(Actor.STORE, [Hello(1)])
    store = open_mailbox(Actor.STORE)
    assert receive(store) == [Hello(1)]


def test_sends_to_nobody_never_block_and_are_counted(open_mailbox: Callable[[Actor], Mailbox]) -> None:
    """Above the high-water mark a batch is dropped and counted."""
    wire = open_mailbox(Actor.WIRE)
    sent = [wire.send(Actor.STORE, [Hello(1)]) for _ in range(HIGH_WATER_MARK + 10)]
    assert sent.count([Hello(1)]) >= 10
    assert wire.counters["mailbox_full"] == sent.count([Hello(1)])


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b"0", b"\x90"], "mailbox_version"),
        ([b"\x90"], "mailbox_version"),
        ([SCHEMA_VERSION, b"\xc1"], "mailbox_undecodable"),
        ([SCHEMA_VERSION, b"\x91\x91\x63"], "mailbox_undecodable"),
    ],
)
def test_a_batch_that_is_none_is_counted(
    open_mailbox: Callable[[Actor], Mailbox], folder: Path, frames: list[bytes], reason: str
) -> None:
    """Batches of another schema version, and ones that do not decode, are dropped under their reason."""
    store = open_mailbox(Actor.STORE)
    with zmq.Context() as context, context.socket(zmq.PUSH) as stranger:
        stranger.connect(f"ipc://{folder}/store.inbox")
        stranger.send_multipart(frames)
        assert receive(store) == []
    assert store.counters == {reason: 1}
