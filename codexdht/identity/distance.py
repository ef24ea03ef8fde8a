"""The XOR metric (Maymounkov and Mazières, *Kademlia*, 2002) on 32-byte ids, and discv5's log-distance."""

from __future__ import annotations

MAX_DISTANCE = 256


def distance(a: bytes, b: bytes) -> int:
    """Return a XOR b as a number below 2**256."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")


def log_distance(a: bytes, b: bytes) -> int:
    """Return the bit length of a XOR b: 0 for equal ids, 256 when the first bits differ."""
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_length()


def id_at_distance(node_id: bytes, d: int) -> bytes:
    """Return the id at log-distance d (1 to 256) from node_id that differs from it in one bit only.

    Raises ValueError for a d outside that range.
    """
    if not 1 <= d <= MAX_DISTANCE:
        raise ValueError(f"log-distance {d} is not between 1 and {MAX_DISTANCE}")
    return (int.from_bytes(node_id, "big") ^ (1 << (d - 1))).to_bytes(32, "big")


def lookup_distances(target: bytes, node_id: bytes, count: int = 3) -> list[int]:
    """Return the log-distances to ask node_id for when looking for target (wire.md section 5).

    First the distance between the two, then one above, one below, and so on; upwards at most 255, downwards
    at least 1.
    """
    middle = log_distance(target, node_id)
    distances = [middle]
    step = 1
    while len(distances) < count:
        if middle + step < MAX_DISTANCE:
            distances.append(middle + step)
        if len(distances) < count and middle - step > 0:
            distances.append(middle - step)
        step += 1
    return distances
