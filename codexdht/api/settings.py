"""Settings of the user API."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Final

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1, le=2**40)]
Seconds = Annotated[float, Meta(gt=0, le=3600)]


LARGEST_REQUEST: Final = 64 * 1024 * 1024
"""On a larger frame ZeroMQ closes the connection, without a reply."""


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds and sizes in bytes."""

    endpoints: Annotated[list[str], Meta(max_length=16)] = []
    """Where the API listens: ipc://…, tcp://host:port. Empty: ipc:// in the run directory, as api.sock. A tcp endpoint
    that is not loopback needs the two CURVE settings."""

    curve_server_key: str = ""
    """File with the node's CURVE key pair (*.key_secret of zmq.auth.create_certificates); tcp:// then speaks CURVE."""

    curve_clients: str = ""
    """Folder with the public CURVE keys (*.key) of the clients that are let in."""

    default_timeout: Seconds = 1.0
    """Time for a request that names none."""

    max_timeout: Seconds = 60.0
    """The most time that a request may ask for."""

    reply_margin: Annotated[float, Meta(ge=0, le=1)] = 0.02
    """How long before the end of its time a request that is not done is answered, at most a quarter of that time. The
    actors behind the API have the same again less, so that what they found until then is in the reply."""

    max_request_size: Annotated[int, Meta(ge=1024, le=LARGEST_REQUEST)] = 1024 * 1024
    """The largest request; a larger one is answered `bad_request`. 64 MiB at most: on a frame that is larger than that
    ZeroMQ closes the connection, without a reply."""

    max_pending: Positive = 1024
    """Requests that may wait for their answer at once; further ones are answered `busy`."""

    max_pending_bytes: Annotated[int, Meta(ge=64 * 1024, le=2**40)] = 32 * 1024 * 1024
    """The size of all waiting requests together, with their addresses; further ones are answered `busy`."""

    view_cache_size: Positive = 2048
    """Records whose text forms are kept, about 1 kB each."""

    life_step_timeout: Seconds = 10.0
    """How long each step of opening, starting and closing may take."""

    autostart_retry: Seconds = 5.0
    """How long after a failure a node that starts by itself tries again."""


def is_endpoint(text: str) -> bool:
    """Tell whether the API can listen there: ZeroMQ itself takes ports that do not exist, and transports on which a
    node would be open to others, or to nobody."""
    transport, _, rest = text.partition("://")
    if transport == "ipc":
        return bool(rest) and text.isprintable()
    host, _, port = rest.rpartition(":")
    return transport == "tcp" and bool(host) and port.isdecimal() and port.isascii() and int(port[:6]) < 65536


def is_loopback(endpoint: str) -> bool:
    """Tell whether only this machine reaches a tcp endpoint."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0]
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
