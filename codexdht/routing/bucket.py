"""A k-bucket, and the binary tree that buckets hang in."""

from __future__ import annotations

from collections.abc import Iterator

from codexdht.routing.entry import NEVER, Entry


class Bucket:
    """All known nodes whose ids start with the same `depth` bits.

    prefix: those bits, followed by zeros, as a 256-bit number; entries: the bucket proper; spares: the replacement
    cache, oldest first; refreshed: when a lookup went here last. `relayed` caches the numbers of the nodes that
    may be told to others; whoever changes one of them or its standing calls `changed`.
    """

    __slots__ = ("_relayed", "depth", "entries", "prefix", "refreshed", "spares")

    def __init__(self, prefix: int, depth: int, refreshed: float = NEVER) -> None:
        self.prefix = prefix
        self.depth = depth
        self.refreshed = refreshed
        self.entries: list[Entry] = []
        self.spares: list[Entry] = []
        self._relayed: list[int] | None = None

    def changed(self) -> None:
        """Forget what was cached."""
        self._relayed = None

    def relayed(self) -> list[int]:
        """Return the numbers of the nodes that have answered us and are not failing now."""
        if self._relayed is None:
            self._relayed = [e.number for e in self.entries if e.answers and not e.failures]
        return self._relayed

    def members(self) -> Iterator[Entry]:
        """Yield entries and spares."""
        yield from self.entries
        yield from self.spares

    def spare(self, number: int) -> Entry | None:
        """Return the spare with this number."""
        return next((e for e in self.spares if e.number == number), None)

    def split(self) -> Branch:
        """Return a branch with two buckets of one more bit that share this one's nodes."""
        shift = 255 - self.depth
        halves = (
            Bucket(self.prefix, self.depth + 1, self.refreshed),
            Bucket(self.prefix | 1 << shift, self.depth + 1, self.refreshed),
        )
        for entry in self.entries:
            halves[entry.number >> shift & 1].entries.append(entry)
        for entry in self.spares:
            halves[entry.number >> shift & 1].spares.append(entry)
        return Branch(shift, *halves)


class Branch:
    """An inner node of the tree: bit `shift` (counted from the lowest) of an id chooses the child."""

    __slots__ = ("children", "shift")

    def __init__(self, shift: int, zero: Bucket | Branch, one: Bucket | Branch) -> None:
        self.shift = shift
        self.children: list[Bucket | Branch] = [zero, one]
