"""Which address the network sees us at: votes from PONGs to our own PINGs."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import NamedTuple

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
    many are held as are needed. IPv4 and IPv6 are counted apart, as a node may have one address of each."""

    __slots__ = ("_settings", "_votes")

    def __init__(self, settings: RoutingSettings) -> None:
        self._settings = settings
        self._votes: OrderedDict[bytes, _Vote] = OrderedDict()

    def add(self, voter: bytes, voter_host: str, seen: Endpoint, now: float) -> bool:
        """Take a vote; tell whether it counts. A node's newer vote replaces its older one."""
        self._expire(now)
        self._votes.pop(voter, None)
        network = network_of(voter_host, self._settings.ip_limits)
        if network is not None and self._from(network) >= self._settings.votes_per_network:
            return False
        self._votes[voter] = _Vote(seen, network, now + self._settings.vote_lifetime)
        if len(self._votes) > _KEPT * self._settings.votes_needed:
            self._votes.popitem(last=False)
        return True

    def majority(self, like: str, now: float) -> Endpoint | None:
        """Return the address of the same family as `like` that more than half of the voters saw, if enough voted."""
        self._expire(now)
        family = ":" in like
        seen = [vote.seen for vote in self._votes.values() if (":" in vote.seen[0]) == family]
        if len(seen) < self._settings.votes_needed:
            return None
        address, count = Counter(seen).most_common(1)[0]
        return address if 2 * count > len(seen) else None

    def _from(self, network: str) -> int:
        return sum(vote.network == network for vote in self._votes.values())

    def _expire(self, now: float) -> None:
        while self._votes:
            voter, vote = next(iter(self._votes.items()))
            if vote.expires > now:
                return
            del self._votes[voter]
