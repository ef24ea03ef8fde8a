"""Whose fault it is when nobody answers."""

from __future__ import annotations

_SLOTS = 6
_SLOT_SECONDS = 9.0
"""The last slot is still under way, so that no answer counts for more than 54 s: silence is noticed within a minute."""
_ENOUGH = 8


class Connectivity:
    """Answered and failed requests of the last minute, in six slots of nine seconds. `answers` counts all answers.

    The fault is ours when most of at least `_ENOUGH` requests failed, the last `_ENOUGH` of them one after the other;
    it stays ours until something answers, and the count then begins anew. Failures that were to be expected, of a
    node that fails already, weigh only while nothing at all answers: it is asked again and again, and a few such
    nodes would outweigh all that answer. Without the run of failures in a row, a third of the network that stops
    at once would look like a fault of ours to those who ask little.
    """

    __slots__ = ("_answered", "_expected", "_failed", "_in_a_row", "_slot", "answers", "ours")

    def __init__(self) -> None:
        self.answers = 0
        self.ours = False
        self._in_a_row = 0
        self._slot = 0
        self._answered = [0] * _SLOTS
        self._failed = [0] * _SLOTS
        self._expected = [0] * _SLOTS

    def answered(self, now: float) -> None:
        """Count an answer."""
        self._advance(now)
        if self.ours:
            self._clear()
        self.answers += 1
        self._in_a_row = 0
        self._answered[self._slot % _SLOTS] += 1

    def failed(self, now: float, *, expected: bool = False) -> None:
        """Count a request without an answer."""
        self._advance(now)
        self._in_a_row += not expected
        (self._expected if expected else self._failed)[self._slot % _SLOTS] += 1
        failed, answered = sum(self._failed), sum(self._answered)
        if not answered:
            self.ours = self.ours or failed + sum(self._expected) >= _ENOUGH
        elif failed > answered and self._in_a_row >= _ENOUGH:
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
        self._in_a_row = 0
        self._answered = [0] * _SLOTS
        self._failed = [0] * _SLOTS
        self._expected = [0] * _SLOTS
