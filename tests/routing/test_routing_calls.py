"""How calls to peers end, and who is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages.discv5 import Kind, encode_records
from codexdht.messages.internal import CallAnswer, CallFailed


class Listener:
    """Writes down how calls go: packets of answers, each with whether it was the last, and failures."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def call_answered(self, call: Any, body: Any, rtt: float, last: bool, now: float) -> None:
        self.heard.append((body, last))

    def call_failed(self, call: Any, reason: str, now: float) -> None:
        self.heard.append(reason)


def asked(swarm: Any, kind: int) -> tuple[Any, Any, Listener]:
    """Return a node that has asked another one, which is in its table, something that nobody answers by itself."""
    me, listener = swarm.add(), Listener()
    entry = me.machine.table.answered(swarm.signer.record(), 0.1, swarm.now)
    swarm.script = lambda peer, call: []
    me.machine._calls.ask(entry.record, kind, b"", listener, context=None, now=swarm.now)
    return me, entry, listener


@pytest.mark.parametrize(
    ("kind", "reason", "failures"),
    [
        (Kind.PING, "timeout", 1),
        (Kind.PING, "unreachable", 1),
        (Kind.PING, "busy", 0),
        (Kind.PING, "closed", 0),
        (Kind.PING, "lost", 0),
        (Kind.ADD_PROVIDER, "timeout", 0),
    ],
)
def test_whose_fault_a_failed_call_is(swarm: Any, kind: int, reason: str, failures: int) -> None:
    """A node is blamed for its silence, but not for what we did not send, nor for the one kind it never answers."""
    me, entry, listener = asked(swarm, kind)
    swarm.tell(me, CallFailed(1, reason))
    assert listener.heard == [reason]
    assert entry.failures == failures


def test_an_answer_of_which_packets_are_missing_is_an_answer(swarm: Any) -> None:
    """What came counts, and the node has answered; the call ends when no more will come."""
    me, entry, listener = asked(swarm, Kind.FIND_NODE)
    swarm.tell(me, CallAnswer(1, Kind.NODES, encode_records(2, [b"record"]), 0.1, False))
    assert listener.heard == [([b"record"], False)]
    swarm.tell(me, CallFailed(1, "timeout"))
    assert listener.heard[1:] == [([], True)]
    assert (entry.failures, entry.answers) == (0, 2)


@pytest.mark.parametrize(
    ("kind", "answered_by"),
    [
        (Kind.PING, Kind.PONG),
        (Kind.FIND_NODE_FAST, Kind.NODES),
        (Kind.GET_PROVIDERS, Kind.PROVIDERS),
        (Kind.TALK_REQ, Kind.TALK_RESP),
    ],
)
def test_an_answer_that_does_not_decode_is_as_good_as_none(swarm: Any, kind: int, answered_by: int) -> None:
    """The call ends at once, and the node is blamed."""
    me, entry, listener = asked(swarm, kind)
    swarm.tell(me, CallAnswer(1, answered_by, b"\x08\x01\x12\xff", 0.1, False))
    assert listener.heard == ["undecodable"]
    assert (entry.failures, entry.answers) == (1, 1)
    assert len(me.machine._calls) == 0


def test_what_came_before_a_packet_that_does_not_decode_counts(swarm: Any) -> None:
    """The call ends with it, and is answered."""
    me, entry, listener = asked(swarm, Kind.FIND_NODE)
    swarm.tell(me, CallAnswer(1, Kind.NODES, encode_records(3, [b"record"]), 0.1, False))
    swarm.tell(me, CallAnswer(1, Kind.NODES, b"\x08\x03\x12\xff", 0.1, False))
    assert listener.heard == [([b"record"], False), ([], True)]
    assert (entry.failures, entry.answers) == (0, 2)
