"""The one source of randomness.

Machines take an `Entropy` as an argument and never draw from anywhere else, so that a seed reproduces a run.
A process gets `SystemEntropy`; tests and the simulator pass a seeded `random.Random`.
"""

from __future__ import annotations

import os
import random

Entropy = random.Random
"""What machines are given: the interface of `random.Random`, above all `randbytes`, `random` and `randrange`."""

_BLOCK = 4096


class SystemEntropy(random.Random):
    """Bytes from the operating system, read in blocks: a packet needs 28 bytes, a system call costs more."""

    def __init__(self) -> None:
        self._block = b""
        self._used = 0
        super().__init__()

    def seed(self, *args: object, **kwargs: object) -> None:
        """Do nothing: the operating system's randomness has no seed."""

    def randbytes(self, n: int) -> bytes:
        """Return n unpredictable bytes; none is given out twice."""
        start = self._used
        if start + n > len(self._block):
            if n > _BLOCK:
                return os.urandom(n)
            self._block = os.urandom(_BLOCK)
            start = 0
        self._used = start + n
        return self._block[start : start + n]

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of k random bits."""
        size = (k + 7) // 8
        return int.from_bytes(self.randbytes(size), "big") >> (size * 8 - k)

    def random(self) -> float:
        """Return a float in [0, 1)."""
        return self.getrandbits(53) * 2.0**-53


def seeded(seed: int | str | bytes) -> Entropy:
    """Return a reproducible source, for tests and simulations."""
    return random.Random(seed)
