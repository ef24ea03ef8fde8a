"""Which address the network sees us at: votes from PONGs to our own PINGs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any, NamedTuple

from codexdht.records import Endpoint
from codexdht.records.networks import network_of
from codexdht.routing.settings import RoutingSettings

_KEPT = 8


class _Vote(NamedTuple):
    seen: Endpoint
    network: str | None
    expires: float


class AddressVotes:
    """One vote a node id, at most a few per network, each valid for a while; the oldest leave when `_KEPT` times as
    many are held as are needed. IPv4 and IPv6 are counted apart, as a node may have one address of each. `_seen` and
    `_networks` count the votes held by address and by network."""

    __slots__ = ("_networks", "_seen", "_settings", "_votes")

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._votes: OrderedDict[bytes, _Vote] = OrderedDict()
        self._seen: Counter[Endpoint] = Counter()
        self._networks: Counter[str | None] = Counter()

    def add(self, voter: bytes, voter_host: str, seen: Endpoint, now: float) -> bool:
        """Take a vote; tell whether it counts. A node's newer vote replaces its older one."""
        self._expire(now)
        if voter in self._votes:
            self._discard(voter)
        network = network_of(voter_host, self._settings.ip_limits)
        if network is not None and self._networks[network] >= self._settings.votes_per_network:
            return False
        self._votes[voter] = _Vote(seen, network, now + self._settings.vote_lifetime)
        self._seen[seen] += 1
        self._networks[network] += 1
        if len(self._votes) > _KEPT * self._settings.votes_needed:
            self._discard(next(iter(self._votes)))
        return True

    def majority(self, like: str, now: float) -> Endpoint | None:
        """Return the address of the same family as `like` that more than half of the voters saw, if enough voted."""
        self._expire(now)
        family = ":" in like
        counts = [(count, seen) for seen, count in self._seen.items() if (":" in seen[0]) == family]
        voters = sum([count for count, _ in counts])
        if voters < self._settings.votes_needed:
            return None
        most, address = max(counts)
        return address if 2 * most > voters else None

    def _discard(self, voter: bytes) -> None:
        vote = self._votes.pop(voter)
        _count_one_less(self._seen, vote.seen)
        _count_one_less(self._networks, vote.network)

    def _expire(self, now: float) -> None:
        while self._votes:
            voter, vote = next(iter(self._votes.items()))
            if vote.expires > now:
                return
            self._discard(voter)


def _count_one_less(counts: Counter[Any], item: Any) -> None:
    counts[item] -= 1
    if not counts[item]:
        del counts[item]
