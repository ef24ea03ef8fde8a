"""What every subject of the routing machine shares."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from codexdht.entropy import Entropy
from codexdht.messages.machine import Outbox
from codexdht.records import RecordCache
from codexdht.routing.local import LocalNode
from codexdht.routing.settings import RoutingSettings
from codexdht.routing.timers import Timers


class Core(NamedTuple):
    """Our own node, settings, randomness, what goes out, what is counted, what is due when, and verified records."""

    local: LocalNode
    settings: RoutingSettings
    entropy: Entropy
    outbox: Outbox
    counters: Counter[str]
    timers: Timers
    records: RecordCache
