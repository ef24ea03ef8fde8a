"""Mailboxes over real ZeroMQ sockets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from codexdht.actors.mailbox import HIGH_WATER_MARK, SCHEMA_VERSION, Mailbox
from codexdht.messages.internal import Actor, Done, Hello, NodeLife


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    with zmq.Context() as made:
        yield made


def receive(mailbox: Mailbox) -> list:
    assert mailbox.inbox.poll(5000), "nothing came"
    messages = mailbox.receive()
    assert messages is not None
    return messages


def test_a_batch_arrives_whole_and_in_order(context: zmq.Context, folder: Path) -> None:
    """All messages of one turn for one actor travel as one batch, in their order."""
    wire, store = Mailbox(context, folder, Actor.WIRE), Mailbox(context, folder, Actor.STORE)
    sent = [Hello(1), NodeLife(1, 2), Done(7, {"key": b"value"})]
    wire.send(Actor.STORE, sent)
    assert receive(store) == sent
    assert store.receive() is None
    wire.close()
    store.close()


def test_what_was_sent_before_the_receiver_started_waits_for_it(context: zmq.Context, folder: Path) -> None:
    """Start order is free: a batch to an actor that does not run yet is delivered when it does."""
    wire = Mailbox(context, folder, Actor.WIRE)
    wire.send(Actor.STORE, [Hello(1)])
    store = Mailbox(context, folder, Actor.STORE)
    assert receive(store) == [Hello(1)]
    wire.close()
    store.close()


def test_sends_to_nobody_never_block_and_are_counted(context: zmq.Context, folder: Path) -> None:
    """Above the high-water mark a batch is dropped and counted."""
    wire = Mailbox(context, folder, Actor.WIRE)
    for _ in range(HIGH_WATER_MARK + 10):
        wire.send(Actor.STORE, [Hello(1)])
    assert wire.counters["mailbox_full"] >= 10
    wire.close()


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
    context: zmq.Context, folder: Path, frames: list[bytes], reason: str
) -> None:
    """Batches of another schema version, and ones that do not decode, are dropped under their reason."""
    store = Mailbox(context, folder, Actor.STORE)
    with context.socket(zmq.PUSH) as stranger:
        stranger.connect(f"ipc://{folder}/store.sock")
        stranger.send_multipart(frames)
        assert receive(store) == []
    assert store.counters == {reason: 1}
    store.close()
