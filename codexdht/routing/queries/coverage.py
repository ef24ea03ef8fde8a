"""Which part of a target's surroundings answers of six nodes have already told of, and which of them can be believed.

An answer to FIND_NODE_FAST names six nodes at most, so that all nodes near a target name the same six of its sixteen.
The rest is found by asking about other points nearby. Everything here is in distances to the target: asking about
distance d means asking about the id target XOR d, and a subtree of the id space is a span of distances.

A node is asked about its own surroundings, because those are what it knows: a routing table of k-buckets holds
everybody in the largest subtree around its owner that has no more than k nodes (Maymounkov and Mazières, *Kademlia*,
2002, section 2.4). What a node claims of the rest of the space is not believed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

ANSWER_SIZE: Final = 6
_NEIGHBOURS: Final = 16
_ID_BITS: Final = 256

Span = tuple[int, int]
"""A subtree: from this distance to before that one. As a claim: the nodes named are all there are in it."""
EVERYWHERE: Final[Span] = (0, 1 << _ID_BITS)


def subtree(distance: int, bits: int) -> Span:
    """Return the subtree of 2^bits ids that holds a distance."""
    start = distance >> bits << bits
    return start, start + (1 << bits)


def claim(about: int, named: int, reach: int) -> Span:
    """Return what an answer of `named` nodes about a point claims; the farthest is `reach` away from that point.

    Whoever is nearer to the point would have been named in its place. The largest subtree around the point that holds
    nobody else is the one of half that reach, rounded to a power of two. Who names fewer than six knows nobody else:
    in a small network that is all there are, in a large one the node has just started.
    """
    return subtree(about, max(reach.bit_length() - 1, 0)) if named >= ANSWER_SIZE else EVERYWHERE


def is_credible(claimed: Span, claimant: int, known: list[int], most: int = _ID_BITS) -> bool:
    """Tell whether a node at this distance knows all of what it claims: whether the smallest subtree that holds both
    has k nodes at most of those known, and no more than 2^most ids. known: their distances, sorted."""
    start, end = claimed
    bits = max((claimant ^ start).bit_length(), (end - start).bit_length() - 1)
    if bits > most:
        return False
    first, last = subtree(claimant, bits)
    one_too_many = bisect_left(known, first) + _NEIGHBOURS
    return one_too_many >= len(known) or known[one_too_many] >= last


def home_bits(distance: int, known: list[int]) -> int:
    """Return the size, in bits, of the largest subtree around a distance that has k nodes at most of those known: what
    a node there may be asked about, and where those are that may be asked about it."""
    at = bisect_left(known, distance)
    around = known[max(at - _NEIGHBOURS - 1, 0) : at + _NEIGHBOURS + 1]
    bits = sorted([(distance ^ other).bit_length() for other in around])
    return bits[_NEIGHBOURS] - 1 if len(bits) > _NEIGHBOURS else _ID_BITS


def unexplored(claims: list[Span], node: Span, radius: int, bits: int, levels: int = 1) -> int | None:
    """Return about which distance a node should be asked: the first gap in a subtree around it, the smallest that has
    one; where there is none, what only one node has told of, and so on for `levels`; None if it can tell of nothing.

    node: its distance, and the bits of the largest such subtree; radius: gaps from there on do not count; bits: of the
    smallest subtree looked at.
    """
    distance, most = node
    for level in range(1, levels + 1):
        for size in range(min(bits, most), most + 1):
            start, end = subtree(distance, size)
            gap = first_gap(claims, (start, min(end, radius)), level)
            if gap is not None:
                return gap
    return None


def first_gap(claims: list[Span], span: Span, level: int = 1) -> int | None:
    """Return the first distance of a span that fewer than `level` claims cover, or None."""
    at, last = span
    while at < last:
        ends = [end for start, end in claims if start <= at < end]
        if len(ends) < level:
            return at
        at = max(ends) if level == 1 else sorted(ends)[-level]
    return None
