"""Which nodes lack FIND_NODE_FAST (peers before version 0.6 do)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from codexdht.messages.discv5 import Kind

_TRIES = 2
_LACKING = _TRIES + 1
_KEPT = 1024
_SLOW: Final = Kind.FIND_NODE
_FAST: Final = Kind.FIND_NODE_FAST


class FastSupport:
    """Timeouts of FIND_NODE_FAST by node id, the least recently asked nodes forgotten first.

    After two of them a node is asked by FIND_NODE. If it answers that, it lacks the fast kind and is remembered;
    if not, it is gone rather than old, and nothing is known about it.
    """

    __slots__ = ("_timeouts",)

    def __init__(self) -> None:
        self._timeouts: OrderedDict[bytes, int] = OrderedDict()

    def kind_for(self, node_id: bytes) -> Kind:
        """Return the kind to ask a node with."""
        return _SLOW if self._timeouts.get(node_id, 0) >= _TRIES else _FAST

    def answered(self, node_id: bytes, kind: int) -> None:
        """Learn from an answer to a request of this kind."""
        if kind == _FAST:
            self._timeouts.pop(node_id, None)
        elif kind == _SLOW and self._timeouts.get(node_id, 0) >= _TRIES:
            self._timeouts[node_id] = _LACKING
            self._timeouts.move_to_end(node_id)

    def timed_out(self, node_id: bytes, kind: int) -> None:
        """Learn from a request of this kind that was not answered."""
        count = self._timeouts.get(node_id, 0)
        if kind == _SLOW and count == _TRIES:
            del self._timeouts[node_id]
        elif kind == _FAST and count < _TRIES:
            self._timeouts[node_id] = count + 1
            self._timeouts.move_to_end(node_id)
            if len(self._timeouts) > _KEPT:
                self._timeouts.popitem(last=False)
