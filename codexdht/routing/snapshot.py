"""The table as the store keeps it: a list of maps that routing alone reads."""

from __future__ import annotations

from typing import Any

import msgspec

from codexdht.errors import DecodeError
from codexdht.records import RecordCache
from codexdht.records.networks import network_of
from codexdht.routing.entry import NEVER, Entry
from codexdht.routing.table import RoutingTable


class _Saved(msgspec.Struct, frozen=True):
    """An entry; times are Unix times, last_seen 0 for a node that never answered."""

    record: bytes
    first_seen: float
    last_seen: float
    rtt: float | None
    rtt_var: float | None
    rtt_min: float | None
    reliability: float | None
    answers: int


def dump(table: RoutingTable, unix_offset: float) -> list[dict[str, Any]]:
    """Return the entries of a table."""
    return [
        {
            "record": e.record.encoded,
            "first_seen": e.first_seen + unix_offset,
            "last_seen": 0.0 if e.last_seen == NEVER else e.last_seen + unix_offset,
            "rtt": e.rtt,
            "rtt_var": e.rtt_var,
            "rtt_min": e.rtt_min,
            "reliability": e.reliability,
            "answers": e.answers,
        }
        for e in table
    ]


def load(saved: object, unix_offset: float, ip_limits: str, cache: RecordCache) -> list[Entry]:
    """Return the entries in a snapshot, most recently seen first; what does not decode is left out.

    All of them count as failing once, so that none is handed on before it has answered again.
    """
    entries = (
        [_load_one(item, unix_offset, ip_limits, cache) for item in saved] if isinstance(saved, list) else []
    )
    return sorted((e for e in entries if e is not None), key=lambda e: -e.last_seen)


def _load_one(item: object, unix_offset: float, ip_limits: str, cache: RecordCache) -> Entry | None:
    try:
        saved = msgspec.convert(item, _Saved)
        record = cache.decode(saved.record)
    except (msgspec.ValidationError, DecodeError):
        return None
    if record.endpoint is None:
        return None
    network = network_of(record.endpoint[0], ip_limits)
    entry = Entry(record, record.number, network, saved.first_seen - unix_offset)
    entry.last_seen = saved.last_seen - unix_offset if saved.last_seen else NEVER
    entry.rtt, entry.rtt_var, entry.rtt_min = saved.rtt, saved.rtt_var, saved.rtt_min
    entry.reliability, entry.answers, entry.failures = saved.reliability, saved.answers, 1
    return entry
