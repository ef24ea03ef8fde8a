"""Settings of the routing actor; every default is the one of behaviour.md. Times are in seconds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=2**40)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, Meta(gt=0.0, le=365 * 86400.0)]


class RoutingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the routing table is kept, and how peers are asked."""

    client_mode: bool = False
    """Ask, but do not serve; the same setting as the wire's."""

    bucket_size: Annotated[int, Meta(ge=1, le=256)] = 16
    """k: nodes in a bucket, and nodes that a lookup looks for."""
    replacements: Annotated[int, Meta(ge=0, le=256)] = 8
    """Nodes that wait beside each full bucket."""
    split_bits: Annotated[int, Meta(ge=1, le=16)] = 5
    """b: bits that one hop of a lookup gains."""
    max_entries: Annotated[int, Meta(ge=16, le=2**40)] = 512
    """Nodes in the table; above it the least relevant leave."""
    ip_limits: Literal["public", "all", "off"] = "public"
    """Which addresses count towards the limits per network; "public" leaves out loopback and private ones."""
    bucket_ip_limit: Count = 2
    """Nodes of one /24 or /64 in a bucket with its replacements."""
    table_ip_limit: Count = 10
    """Nodes of one /24 or /64 in the table with all replacements."""
    replace_after: Count = 3
    """Failures in a row after which a node gives way to a replacement."""
    min_reliability: Share = 0.5
    """A node whose moving average of answered requests is lower leaves."""
    low_entries: Count = 16
    """With fewer nodes, more are looked for."""

    revalidate_min: Seconds = 5.0
    """Shortest time between two revalidation PINGs."""
    revalidate_max: Seconds = 10.0
    """Longest time between two revalidation PINGs."""
    refresh_after: Seconds = 300.0
    """A random lookup starts when none has run for so long."""
    search_backoff: Seconds = 1.0
    """First pause between two searches for more nodes; it doubles."""
    search_backoff_max: Seconds = 30.0
    """Longest pause between two searches for more nodes."""
    save_every: Seconds = 600.0
    """The table is saved so often, and at stop."""
    max_checks: Count = 16
    """PINGs of maintenance in flight."""

    alpha: Annotated[int, Meta(ge=1, le=16)] = 3
    """Requests of one query that hold a place."""
    alpha_last: Annotated[int, Meta(ge=1, le=64)] = 16
    """The same once the α closest nodes have answered: what is left then is to hear the others among the k closest,
    which one after the other takes longer than a user waits."""
    query_calls: Annotated[int, Meta(ge=1, le=64)] = 24
    """Requests of one query in flight, slow ones included; right after an outage most of them are to dead nodes."""
    hedge_min: Seconds = 0.05
    """Shortest time for which a request holds its place."""
    hedge_max: Seconds = 0.5
    """Longest time for which a request holds its place."""
    call_timeout: Seconds = 1.0
    """Every request to a peer ends within this."""
    max_calls: Count = 1024
    """Requests to peers in flight."""
    max_queries: Count = 512
    """Queries at work; a user's next one is answered `busy`."""
    background_time: Seconds = 10.0
    """How long a query may go on after its deadline."""
    reply_margin: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.03
    """Partial results leave so long before the deadline, to arrive in time; at most a quarter of the time until it."""
    providers_limit: Count = 20
    """Distinct providers at which a search for providers stops."""
    record_cache: Count = 4096
    """Verified records kept by their bytes."""

    republish: bool = True
    """Publish again what this node provides, in time and when its record has changed; false: the caller will."""
    republish_every: Annotated[float, Meta(gt=0.0, le=15 * 3600.0)] = 12 * 3600.0
    """Time from one publication of a key to the next as a rule, and one and a half times as long at the most, which has
    to be less than the 24 h for which others remember it."""
    republish_min: Seconds = 3600.0
    """Shortest time between two publications of a key, under heavy churn."""
    check_every: Seconds = 3600.0
    """How often a sample of the published keys is looked up."""
    check_sample: Count = 8
    """Keys in that sample."""
    publish_rate: Seconds = 40.0
    """Keys published per second when many are published at once; each of the nodes near them gets as many packets."""

    votes_needed: Count = 10
    """Votes on our address before a majority of them counts."""
    votes_per_network: Count = 2
    """Votes that count from one /24 or /64."""
    vote_lifetime: Seconds = 300.0
    """How long a vote is valid."""
