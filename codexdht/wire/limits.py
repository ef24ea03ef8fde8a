"""Limits on what one address, and all strangers together, may make this node do (behaviour.md, "Hostile or broken
peers").

State: one `Source` for each IPv4 host and IPv6 /64 network, in a bounded table that the longest known leaves first, so
that no network takes more than one place; an address that is exempt has one, too, so that its kind is found out once.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Network

from codexdht.records import Endpoint
from codexdht.records.networks import is_exempt
from codexdht.wire.settings import WireSettings


class Bucket:
    """A token bucket: `burst` tokens at first, `rate` a second after that, one a packet."""

    __slots__ = ("at", "tokens")

    def __init__(self, burst: float, now: float) -> None:
        self.tokens = burst
        self.at = now

    def take(self, rate: float, burst: float, now: float) -> bool:
        """Take a token, if there is one."""
        tokens = min(burst, self.tokens + (now - self.at) * rate)
        self.at = now
        self.tokens = tokens - 1 if tokens >= 1 else tokens
        return tokens >= 1


class Window:
    """At most so many events within any time of a length. A token bucket would allow twice as many in its first such
    time. It keeps the times of the last events."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: list[float] = []

    def take(self, count: int, seconds: float, now: float) -> bool:
        """Note an event, if it may happen now."""
        times = self._times
        if len(times) >= count:
            if now < times[0] + seconds:
                return False
            del times[0]
        times.append(now)
        return True


class Source:
    """What is known of one address: its buckets, its last WHOAREYOUs, how many bad packets since when, until when it is
    ignored."""

    __slots__ = ("bad", "bad_since", "exempt", "ignored_until", "known", "strange", "whoareyou")

    def __init__(self, exempt: bool, settings: WireSettings, now: float) -> None:
        self.exempt = exempt
        self.strange = Bucket(settings.source_burst, now)
        self.known = Bucket(settings.session_burst, now)
        self.whoareyou = Window()
        self.bad = 0
        self.bad_since = now
        self.ignored_until = now


class Limits:
    """Decides which packets are looked at, and which addresses get a WHOAREYOU."""

    def __init__(self, settings: WireSettings, counters: Counter[str]) -> None:
        self._settings = settings
        self._counters = counters
        self._sources: dict[str, Source] = {}
        self._strangers_rate = settings.strangers_rate / settings.processes
        self._strangers_burst = settings.strangers_burst / settings.processes
        self._strangers = Bucket(self._strangers_burst, 0.0)

    def __len__(self) -> int:
        return len(self._sources)

    def admit(self, address: Endpoint, known: bool, now: float) -> bool:
        """Tell whether a packet from this endpoint is to be looked at; `known` tells that it has a session, or has been
        asked for one."""
        source = self._sources.get(address[0]) or self._source(address[0], now)
        if source.exempt:
            return True
        if source.ignored_until > now:
            self._counters["dropped_ignored"] += 1
            return False
        return self._admit_known(source, now) if known else self._admit_stranger(source, now)

    def _admit_known(self, source: Source, now: float) -> bool:
        if source.known.take(self._settings.session_rate, self._settings.session_burst, now):
            return True
        self._counters["dropped_session_rate"] += 1
        return False

    def _admit_stranger(self, source: Source, now: float) -> bool:
        settings = self._settings
        if not source.strange.take(settings.source_rate, settings.source_burst, now):
            self._counters["dropped_source_rate"] += 1
            return False
        if not self._strangers.take(self._strangers_rate, self._strangers_burst, now):
            self._counters["dropped_strangers_rate"] += 1
            return False
        return True

    def may_challenge(self, address: Endpoint, now: float) -> bool:
        """Tell whether a WHOAREYOU may go to this address now."""
        source = self._source(address[0], now)
        rate = self._settings.whoareyou_rate
        count = max(int(rate), 1)
        if source.exempt or source.whoareyou.take(count, count / rate, now):
            return True
        self._counters["refused_whoareyou_rate"] += 1
        return False

    def bad(self, address: Endpoint, now: float) -> None:
        """A packet from this address was malformed, or could not be decrypted."""
        source = self._source(address[0], now)
        if not source.bad or now >= source.bad_since + self._settings.bad_seconds:
            source.bad, source.bad_since = 0, now
        source.bad += 1
        if source.bad >= self._settings.bad_packets and not source.exempt:
            source.bad = 0
            source.ignored_until = now + self._settings.ignore_seconds
            self._counters["addresses_ignored"] += 1

    def forgive(self, address: Endpoint, packets: int, now: float) -> None:
        """A handshake from this address has succeeded: so many packets that were unreadable before it were not bad."""
        source = self._source(address[0], now)
        source.bad = max(0, source.bad - packets)

    def _source(self, host: str, now: float) -> Source:
        network = _network_of(host) if ":" in host else host
        source = self._sources.get(network)
        if source is None:
            source = Source(is_exempt(host, self._settings.ip_limits), self._settings, now)
            self._sources[network] = source
            if len(self._sources) > self._settings.sources:
                del self._sources[next(iter(self._sources))]
        return source


@lru_cache(maxsize=4096)
def _network_of(host: str) -> str:
    """Return the /64 of an IPv6 address: 5 us to work out."""
    return str(IPv6Network((host, 64), strict=False))
