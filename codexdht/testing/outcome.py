"""What a scenario is asked for, and what it finds out."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from codexdht.testing.world import Level


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size and length of a simulation."""

    nodes: Annotated[int, Meta(ge=20, le=100_000)] = 1000
    hours: Annotated[float, Meta(gt=0)] = 1.0
    """Simulated time that the scenario is observed for."""
    seed: int = 1
    level: Level = "fast"
    keys: Annotated[int, Meta(ge=1)] = 100
    """Keys that are provided."""
    searches: Annotated[int, Meta(ge=1)] = 400
    """Searches for providers in all."""
    churn: Annotated[float, Meta(ge=0, le=10)] = 0.1
    """Share of the nodes replaced every hour, in the scenario `churn`."""
    loss: Annotated[float, Meta(ge=0, le=1)] = 0.02
    """Share of packets that are lost."""
    sessions: bool = True
    """Nodes that know each other have sessions from the beginning, as after a day; at the level "fast" only."""
    traced: bool = False
    """Keep a hash of everything that arrives, to compare runs."""


class Outcome(msgspec.Struct, kw_only=True):
    """What a scenario found.

    figures: name → number; series: name → points (seconds since the beginning, value); samples: name → values whose
    distribution is of interest; network: what became of the packets.
    """

    scenario: str
    options: Options
    figures: dict[str, float] = {}
    series: dict[str, list[tuple[float, float]]] = {}
    samples: dict[str, list[float]] = {}
    network: dict[str, int] = {}
    trace: str = ""
