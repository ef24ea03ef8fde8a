"""Which part of a target's surroundings answers of six nodes have already told of.

An answer to FIND_NODE_FAST names six nodes at most, so that all nodes near a target name the same six of its sixteen.
The rest is found by asking about other points nearby. Everything here is in distances to the target: asking about
distance d means asking about the id target XOR d.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ANSWER_SIZE: Final = 6
_LEVELS: Final = 3
_GUESS_BITS: Final = 3

Claim = tuple[int, int]
"""From this distance to before that one, the six nodes named are all there are."""


def claim(about: int, reach: int) -> Claim:
    """Return what an answer of six nodes about a point claims, of which the farthest is `reach` away from that point.

    Whoever is nearer to the point would have been named in its place. The largest subtree around the point that holds
    nobody else is the one of half that reach, rounded to a power of two; in distances it is an interval.
    """
    shift = max(reach.bit_length() - 1, 0)
    start = about >> shift << shift
    return start, start + (1 << shift)


def next_point(claims: list[Claim], asked: Iterable[int], radius: int) -> int:
    """Return about which distance the next node should be asked.

    claims are those of nodes near the target, asked are points that others are being asked about just now, radius is
    how far the search has to reach. The target itself comes first. Then comes the first gap; where there is none,
    what only one node has told of, then what only two have.
    """
    if first_gap(claims, 0, 1) is not None:
        return 0
    guess = max(radius.bit_length() - _GUESS_BITS, 0)
    expected = claims + [(point >> guess << guess, (point >> guess) + 1 << guess) for point in asked]
    for level in range(1, _LEVELS + 1):
        gap = first_gap(expected, radius, level)
        if gap is not None:
            return gap
    return 0


def first_gap(claims: list[Claim], radius: int, level: int) -> int | None:
    """Return the first distance up to radius that fewer than `level` claims cover, or None."""
    at = 0
    while at <= radius:
        ends = sorted((end for start, end in claims if start <= at < end), reverse=True)
        if len(ends) < level:
            return at
        at = ends[level - 1]
    return None
