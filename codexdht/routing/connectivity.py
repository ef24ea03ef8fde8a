"""Whose fault it is when nobody answers."""

from __future__ import annotations

_SLOTS = 6
_SLOT_SECONDS = 10.0
_ENOUGH = 8


class Connectivity:
    """Answered and failed requests of the last minute, in six slots of ten seconds.

    When most of at least `_ENOUGH` requests failed, the fault is ours, and stays ours until something answers; the
    count then begins anew. Failures that were to be expected, of a node that fails already, weigh only while nothing
    at all answers: it is asked again and again, and a few such nodes would outweigh all that answer.
    """

    __slots__ = ("_answered", "_expected", "_failed", "_slot", "ours")

    def __init__(self) -> None:
        self.ours = False
        self._slot = 0
        self._answered = [0] * _SLOTS
        self._failed = [0] * _SLOTS
        self._expected = [0] * _SLOTS

    def answered(self, now: float) -> None:
        """Count an answer."""
        self._advance(now)
        if self.ours:
            self._clear()
        self._answered[self._slot % _SLOTS] += 1

    def failed(self, now: float, *, expected: bool = False) -> None:
        """Count a request without an answer."""
        self._advance(now)
        (self._expected if expected else self._failed)[self._slot % _SLOTS] += 1
        failed, answered = sum(self._failed), sum(self._answered)
        if not answered:
            failed += sum(self._expected)
        if failed > answered and failed + answered >= _ENOUGH:
            self.ours = True

    def _advance(self, now: float) -> None:
        slot = int(now / _SLOT_SECONDS)
        if slot == self._slot:
            return
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            at = passed % _SLOTS
            self._answered[at] = self._failed[at] = self._expected[at] = 0
        self._slot = slot

    def _clear(self) -> None:
        self.ours = False
        self._answered = [0] * _SLOTS
        self._failed = [0] * _SLOTS
        self._expected = [0] * _SLOTS
