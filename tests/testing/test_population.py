"""Populations: what churn leaves behind."""

from __future__ import annotations

import weakref

from codexdht.testing.population import Churn, grow
from codexdht.testing.world import World, WorldSettings


def test_churn_frees_what_killed_nodes_leave() -> None:
    """However many nodes have been replaced, no more of them are in memory than a part of those that live."""
    world = World(WorldSettings(level="fast"))
    first = [weakref.ref(node.machines.routing) for node in grow(world, 8, pause=0.1)]
    replacing = Churn(world, 200.0, [])
    world.loop.run_for(120.0)
    replacing.stop()
    world.loop.run_for(15.0)
    assert replacing.replaced > 30
    assert sum(machine() is not None for machine in first) <= 2
