"""Encoded answers to GET_PROVIDERS, kept for keys that are asked for again and again."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from codexdht.entropy import Entropy

_RECORDS_PER_PACKET = 12


class Answer(NamedTuple):
    """Bodies of PROVIDERS packets; the providers in them; the moment and the store's time from which it is void."""

    bodies: list[bytes]
    numbers: frozenset[bytes]
    until: float
    until_time: int


class AnswerCache:
    """Answers by key; the least recently used leave first.

    An answer is dropped when a provider of its key comes, goes, or is fresh again; when the record of a provider in it
    changes; and when the first provider of its key expires.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes, now: float, time: int) -> list[bytes] | None:
        """Return the bodies kept for a key, if they still hold."""
        answer = self._answers.get(key)
        if answer is None or now >= answer.until or time >= answer.until_time:
            return None
        self._answers.move_to_end(key)
        return answer.bodies

    def put(self, key: bytes, answer: Answer) -> None:
        """Keep an answer in place of an older one."""
        self._answers[key] = answer
        if len(self._answers) > self._size:
            self._answers.popitem(last=False)

    def drop_key(self, key: bytes) -> None:
        """Forget the answer for a key."""
        self._answers.pop(key, None)

    def drop_peer(self, number: bytes) -> None:
        """Forget the answers that name a provider."""
        for key in [key for key, answer in self._answers.items() if number in answer.numbers]:
            del self._answers[key]

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()


def choose(
    live: list[tuple[int, bytes]], fresh_after: int, packets: int, entropy: Entropy
) -> list[tuple[int, bytes]]:
    """Return the providers for an answer of so many packets, from all live ones, freshest first.

    Those that expire after `fresh_after` are fresh: all that announce themselves on time. They come first and are
    shuffled, so that each has its share of the answers; the others follow, freshest first.
    """
    room = packets * _RECORDS_PER_PACKET
    fresh = sum(1 for expiry, _ in live if expiry > fresh_after)
    chosen = _shuffled(live[:fresh], entropy)[:room] if fresh > 1 else live[:fresh]
    return chosen + live[fresh : fresh + room - len(chosen)]


def _shuffled(items: list[tuple[int, bytes]], entropy: Entropy) -> list[tuple[int, bytes]]:
    """Return items in random order: sorted by 4 random bytes each, which takes one draw instead of one an item."""
    noise = entropy.randbytes(4 * len(items))
    order = sorted(range(len(items)), key=lambda i: noise[4 * i : 4 * i + 4])
    return [items[i] for i in order]
