"""Protocols on top of TALK_REQ: a handler answers the requests of each (wire.md section 5)."""

from __future__ import annotations

from collections.abc import Callable

from codexdht.records import Endpoint

TalkHandler = Callable[[bytes, Endpoint, bytes], bytes]
"""Takes the asking node's id, its address and the request; returns the response, at once and without raising."""

ECHO = b"echo"


def echo(node_id: bytes, address: Endpoint, request: bytes) -> bytes:  # noqa: ARG001
    """Answer with the request itself: shows that two nodes hear each other."""
    return request


class TalkHandlers:
    """Handlers by protocol name."""

    def __init__(self) -> None:
        self._handlers: dict[bytes, TalkHandler] = {}

    def register(self, protocol: bytes, handler: TalkHandler) -> None:
        """Give the requests of a protocol to this handler, in place of the one before."""
        self._handlers[protocol] = handler

    def answer(self, node_id: bytes, address: Endpoint, protocol: bytes, request: bytes) -> bytes:
        """Return the response to a request: empty when nobody has registered the protocol."""
        handler = self._handlers.get(protocol)
        return b"" if handler is None else handler(node_id, address, request)
