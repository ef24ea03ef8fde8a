"""The reactor, driving a scripted machine over real ZeroMQ sockets and with real signals."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from codexdht.actors.log import EventLog
from codexdht.actors.mailbox import Mailbox
from codexdht.actors.reactor import Reactor
from codexdht.messages.internal import Actor, ClockSet, Done, Failed, Hello, Lookup, Message, Stats
from codexdht.messages.machine import Outbox


class Script:
    """A machine that records what it is told and answers Stats."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.counters: Counter[str] = Counter()
        self.heard: list[Message | str] = []
        self.ticks: list[float] = []
        self.due: float | None = None
        self.stopped_at: float | None = None
        self.owes_for = 0.0

    def boot(self, now: float) -> None:
        self.heard.append("boot")
        self.outbox.broadcast(Actor.STORE, Hello(Actor.STORE))

    def handle(self, message: Message, now: float) -> None:
        self.heard.append(message)
        if isinstance(message, Stats):
            self.outbox.send(Actor(message.asker), Done(message.request, dict(self.counters)))

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        if self.due is not None and now >= self.due:
            self.due = None
            self.outbox.send(Actor.API, Done(0, "due"))

    def deadline(self) -> float | None:
        return self.due

    def stop(self, now: float) -> None:
        self.stopped_at = now
        self.outbox.send(Actor.API, Done(0, "stopping"))

    def is_idle(self) -> bool:
        return self.stopped_at is not None and time.monotonic() >= self.stopped_at + self.owes_for


class Running:
    """A reactor in a process of its own, forked: signals go to a process, and only its main thread takes them."""

    def __init__(self, folder: Path, machine: Script) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            with zmq.Context() as context:
                Reactor(machine, Mailbox(context, folder, Actor.STORE), EventLog()).run(lambda: None)
            os._exit(0)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def api(folder: Path) -> Iterator[Mailbox]:
    """The other end of the reactor's mailbox. Made in the test's process, after the fork."""
    mailboxes: list[Mailbox] = []
    contexts: list[zmq.Context] = []

    class Late:
        def __getattr__(self, name: str) -> object:
            if not mailboxes:
                contexts.append(zmq.Context())
                mailboxes.append(Mailbox(contexts[0], folder, Actor.API))
            return getattr(mailboxes[0], name)

    yield Late()
    for mailbox in mailboxes:
        mailbox.close()
    for context in contexts:
        context.term()


def next_batch(mailbox: Mailbox) -> list[Message]:
    assert mailbox.inbox.poll(10_000), "nothing came"
    return mailbox.receive()


def test_a_reactor_boots_serves_and_ends_on_sigterm(folder: Path, api: Mailbox) -> None:
    """Hello comes first, each request is answered, and SIGTERM ends the process with what it still had to say."""
    running = Running(folder, Script())
    assert next_batch(api) == [Hello(Actor.STORE)]
    api.send(Actor.STORE, [Stats(Actor.API, 5, time.monotonic() + 10)])
    assert next_batch(api) == [Done(5, {})]
    os.kill(running.pid, signal.SIGTERM)
    assert next_batch(api) == [Done(0, "stopping")]
    assert running.wait() == 0


def test_messages_that_come_too_late_are_counted_not_handled(folder: Path, api: Mailbox) -> None:
    """A request whose deadline has passed is not served as if it were fresh."""
    running = Running(folder, Script())
    next_batch(api)
    late = Lookup(Actor.API, 1, time.monotonic() - 1, b"t" * 32)
    api.send(Actor.STORE, [late, Stats(Actor.API, 2, time.monotonic() + 10)])
    assert next_batch(api) == [Done(2, {"expired_message": 1})]
    os.kill(running.pid, signal.SIGINT)
    assert running.wait() == 0


def test_a_deadline_wakes_an_idle_reactor(folder: Path, api: Mailbox) -> None:
    """The machine ticks when it asked to, without any message."""
    machine = Script()
    machine.due = time.monotonic() + 0.05
    running = Running(folder, machine)
    assert next_batch(api) == [Hello(Actor.STORE)]
    assert next_batch(api) == [Done(0, "due")]
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait() == 0


def test_the_clock_is_set_before_boot(folder: Path) -> None:
    """A machine knows the Unix time from its first call on; a watch ends the reactor."""
    machine = Script()
    with zmq.Context() as context:
        reactor = Reactor(machine, Mailbox(context, folder, Actor.STORE), EventLog())
        reactor.watch(lambda: True)
        runner = threading.current_thread()
        assert runner is threading.main_thread()
        reactor.run(lambda: None)
    clock, boot = machine.heard[:2]
    assert isinstance(clock, ClockSet)
    assert abs(clock.unix_offset - (time.time() - time.monotonic())) < 5
    assert boot == "boot"
    assert machine.stopped_at is not None


def test_a_request_that_cannot_be_sent_is_answered_busy(folder: Path) -> None:
    """At the high-water mark the asker hears `busy` in the same turn; nothing blocks, nothing waits for a timeout."""
    machine = Script()
    later = time.monotonic() + 60
    with zmq.Context() as context:
        mailbox = Mailbox(context, folder, Actor.STORE)
        while not mailbox.send(Actor.API, [Hello(Actor.STORE)]):
            pass
        machine.outbox.send(Actor.API, Stats(Actor.STORE, 77, later))
        reactor = Reactor(machine, mailbox, EventLog())
        reactor.watch(lambda: True)
        reactor.run(lambda: None)
    assert Failed(77, "busy", "an actor has too much to do; try again") in machine.heard
