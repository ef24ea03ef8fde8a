"""TALK_REQ: who answers it, and what happens when a handler, which is somebody else's code, does anything odd."""

from __future__ import annotations

from typing import Any

import pytest

from codexdht.messages import discv5
from codexdht.messages.discv5 import Kind
from codexdht.messages.internal import CallAnswer


def test_talk(net: Any) -> None:
    """A registered protocol answers, the shipped echo does, and an unknown one gets an empty response."""
    a, b = net.node(1), net.node(2)
    b.machine.register_talk(b"upper", lambda node_id, address, request: request.upper())
    for protocol in (b"upper", b"echo", b"nobody"):
        net.call(a, b, Kind.TALK_REQ, discv5.encode_talk_request(discv5.TalkRequest(protocol, b"abc")))
    net.run()
    responses = [discv5.decode_talk_response(m.body) for m in a.take(CallAnswer)]
    assert responses == [b"ABC", b"abc", b""]


def raising(node_id: bytes, address: object, request: bytes) -> bytes:
    raise KeyError(request)


def forgetful(node_id: bytes, address: object, request: bytes) -> Any:
    request.upper()


def textual(node_id: bytes, address: object, request: bytes) -> Any:
    return request.decode()


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (raising, "KeyError(b'abc')"),
        (forgetful, "it returned NoneType, not bytes"),
        (textual, "it returned str, not bytes"),
    ],
)
def test_a_handler_that_fails(net: Any, handler: Any, error: str) -> None:
    """The asker gets the empty response, the failure is counted and logged with its place, and the node goes on."""
    a, b = net.node(1), net.node(2)
    b.machine.register_talk(b"odd", handler)
    for protocol in (b"odd", b"odd", b"echo"):
        net.call(a, b, Kind.TALK_REQ, discv5.encode_talk_request(discv5.TalkRequest(protocol, b"abc")))
    net.run()
    assert [discv5.decode_talk_response(m.body) for m in a.take(CallAnswer)] == [b"", b"", b"abc"]
    assert b.counters["talk_handler_failed"] == 2
    events = b.machine.outbox.events
    assert [(e.level, e.event) for e in events] == [("error", "talk handler failed")] * 2
    assert (events[0].fields["protocol"], events[0].fields["error"]) == ("odd", error)
    assert (__file__ in events[0].fields["at"]) == (handler is raising)
