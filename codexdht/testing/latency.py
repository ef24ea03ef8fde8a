"""How long packets take: log-normal between pairs of hosts, and fixed for each pair."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

_QUANTILES: Final = 4096
_MIX: Final = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93)
_MASK: Final = 2**64 - 1


class Latency:
    """One-way delays between numbered hosts, in seconds.

    A pair's delay is drawn from the distribution by a hash of its two numbers, so that nothing is stored: 10,000 hosts
    have 50 million pairs. Both directions take the same time.
    """

    def __init__(self, median_rtt: float = 0.1, spread: float = 0.5, seed: int = 0) -> None:
        """median_rtt: median round trip of all pairs in seconds; spread: sigma of its logarithm (0.5: one pair in 20
        takes 2.3 times the median or longer)."""
        self.median_rtt = median_rtt
        self._seed = seed * _MIX[2] & _MASK
        normal = NormalDist()
        self._delays = [
            median_rtt / 2 * math.exp(spread * normal.inv_cdf((i + 0.5) / _QUANTILES))
            for i in range(_QUANTILES)
        ]

    def between(self, a: int, b: int) -> float:
        """Return the delay between two hosts."""
        low, high = (a, b) if a < b else (b, a)
        mixed = (low + 1) * _MIX[0] + (high + 1) * _MIX[1] + self._seed & _MASK
        mixed = (mixed ^ mixed >> 31) * _MIX[2] & _MASK
        return self._delays[mixed >> 52]
