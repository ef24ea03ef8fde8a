"""What an IP address says about who is behind it: its scope, and the network that limits count by."""

from __future__ import annotations

import ipaddress
from enum import IntEnum
from functools import lru_cache


class Scope(IntEnum):
    """From where an address can be reached."""

    LOOPBACK = 0
    PRIVATE = 1
    PUBLIC = 2


@lru_cache(maxsize=8192)
def scope_of(host: str) -> Scope:
    """Return the scope of an IP address in text form; link-local counts as private."""
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return Scope.LOOPBACK
    return Scope.PRIVATE if ip.is_private else Scope.PUBLIC


def is_exempt(host: str, ip_limits: str) -> bool:
    """Tell whether the limits per address ("public", "all", "off") leave this address out. Whole test networks sit
    behind one loopback or private address."""
    return ip_limits == "off" or (ip_limits == "public" and scope_of(host) is not Scope.PUBLIC)


@lru_cache(maxsize=8192)
def network_of(host: str, ip_limits: str) -> str | None:
    """Return the /24 or /64 that an address counts against, or None where the limits leave it out."""
    if is_exempt(host, ip_limits):
        return None
    length = 64 if ":" in host else 24
    return str(ipaddress.ip_network(f"{host}/{length}", strict=False))
