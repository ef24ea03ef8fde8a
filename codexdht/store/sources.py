"""The network that a record came from, as far as limits are concerned: a /24 of IPv4 or a /64 of IPv6."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv6Address
from typing import Final, Literal

from codexdht.records.networks import is_exempt

NO_SOURCE: Final = b""
"""The source of local records and of those that no limit applies to."""
_MAX_KNOWN: Final = 4096


class Sources:
    """Networks by the text of an address. Parsing takes 5 us, so the last few thousand are kept."""

    def __init__(self, ip_limits: Literal["public", "all", "off"]) -> None:
        self._ip_limits = ip_limits
        self._known: dict[str, bytes] = {}

    def of(self, host: str) -> bytes:
        """Return the first 3 bytes of an IPv4 or the first 8 of an IPv6 address, or NO_SOURCE."""
        source = self._known.get(host)
        if source is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            source = self._known[host] = self._parse(host)
        return source

    def _parse(self, host: str) -> bytes:
        if is_exempt(host, self._ip_limits):
            return NO_SOURCE
        address = ipaddress.ip_address(host)
        if isinstance(address, IPv6Address):
            return address.ipv4_mapped.packed[:3] if address.ipv4_mapped else address.packed[:8]
        return address.packed[:3]
