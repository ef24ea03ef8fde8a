"""Protocols on top of TALK_REQ: a handler answers the requests of each (wire.md section 5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from traceback import extract_tb
from typing import Final

from codexdht.messages.machine import Outbox
from codexdht.records import Endpoint

TalkHandler = Callable[[bytes, Endpoint, bytes], bytes]
"""Takes the asking node's id, its address and the request; returns the response, at once."""

_LONGEST_ERROR: Final = 200

ECHO = b"echo"


def echo(node_id: bytes, address: Endpoint, request: bytes) -> bytes:  # noqa: ARG001
    """Answer with the request itself: shows that two nodes hear each other."""
    return request


class TalkHandlers:
    """Handlers by protocol name. A handler is somebody else's code: whatever it does, the node goes on."""

    def __init__(self, outbox: Outbox, counters: Counter[str]) -> None:
        self._handlers: dict[bytes, TalkHandler] = {}
        self._outbox = outbox
        self._counters = counters

    def register(self, protocol: bytes, handler: TalkHandler) -> None:
        """Give the requests of a protocol to this handler, in place of the one before."""
        self._handlers[protocol] = handler

    def answer(self, node_id: bytes, address: Endpoint, protocol: bytes, request: bytes) -> bytes:
        """Return the response to a request: empty when nobody has registered the protocol, as discv5 says, and when
        the handler fails, which is counted and logged."""
        handler = self._handlers.get(protocol)
        if handler is None:
            return b""
        try:
            response = handler(node_id, address, request)
        except Exception as error:  # noqa: BLE001  a peer's request must not end the node by way of foreign code
            return self._failed(protocol, repr(error)[:_LONGEST_ERROR], _place(error))
        if not isinstance(response, bytes):
            return self._failed(protocol, f"it returned {type(response).__name__}, not bytes", "")
        return response

    def _failed(self, protocol: bytes, error: str, place: str) -> bytes:
        self._counters["talk_handler_failed"] += 1
        name = protocol.decode(errors="replace")
        self._outbox.log("error", "talk handler failed", protocol=name, error=error, at=place)
        return b""


def _place(error: Exception) -> str:
    """Return file and line of what raised."""
    frame = extract_tb(error.__traceback__)[-1]
    return f"{frame.filename}:{frame.lineno}"
