"""Settings of the provider store; the defaults are those of behaviour.md, section "Provider store"."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1, le=2**40)]
Seconds = Annotated[int, Meta(ge=1, le=365 * 86400)]


class StoreSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds and sizes in bytes."""

    lifetime: Seconds = 24 * 3600
    """How long a provider is remembered after its last announcement."""

    provider_policy: Literal["own", "any"] = "own"
    """"own": peers may announce only themselves; "any": also records handed on by others."""

    ip_limits: Literal["public", "all", "off"] = "public"
    """Which sources the two limits per network apply to: "public" leaves out loopback and private ones."""

    max_per_key: Positive = 1000
    """Providers of one key."""

    max_per_source_and_key: Positive = 8
    """Providers of one key announced from one /24 (IPv4) or /64 (IPv6)."""

    max_per_source: Positive = 10_000
    """Records announced from one /24 or /64."""

    max_records: Positive = 1_000_000
    """Records in all; one is a provider of one key."""

    max_bytes: Annotated[int, Meta(ge=256 * 1024, le=2**44)] = 2 * 1024**3
    """Room on disk for what is stored."""

    max_record_size: Annotated[int, Meta(ge=256, le=4096)] = 4096
    """Size of one encoded record. Larger ones than 4096 bytes are refused wherever they come from."""

    max_seq_ahead: Seconds = 24 * 3600
    """A seq further ahead of the clock than this never wins over another."""

    max_provided: Positive = 10_000_000
    """Keys that this node itself remembers to provide."""

    max_answer_packets: Annotated[int, Meta(ge=1, le=16)] = 5
    """Packets in the answer to one GET_PROVIDERS."""

    answer_cache_time: Annotated[float, Meta(ge=0, le=60)] = 5.0
    """How long an encoded answer is given again before its providers are shuffled anew."""

    answer_cache_size: Positive = 512
    """Encoded answers kept in memory."""

    record_cache_size: Positive = 4096
    """Provider records kept in memory."""

    view_cache_size: Positive = 16_384
    """Providers, over all keys, that are kept in memory to judge newcomers against."""

    commit_interval: Annotated[float, Meta(gt=0, le=0.1)] = 0.05
    """How long a record from the network may wait before it is on disk."""

    max_batch: Positive = 500
    """Changes after which a commit does not wait for its interval, and users' writes and housekeeping wait for the
    commit that is under way."""

    max_unsaved: Positive = 2000
    """Changes after which everything waits for the commit that is under way: one takes 1 kB of memory until it is on
    disk, and about 12 kB while it is being written."""

    max_jobs: Positive = 1000
    """Requests in work that are too large for one step."""

    full_retry: Annotated[float, Meta(gt=0, le=60)] = 1.0
    """After a write that the disk refused, how long none is tried."""
