"""A simulator: many nodes in one process, on a simulated network and under a simulated clock.

The machines are those that the processes of a node run. `World` is a network; `population` fills it; `scenarios`
and the command `python -m codexdht.testing.simulate` measure it. One seed gives one trace. It is also for
tests of programs that use this package.
"""

from codexdht.testing.events import EventLoop
from codexdht.testing.latency import Latency
from codexdht.testing.network import Addresses, Interface, Network, Weather
from codexdht.testing.node import Node, Place, Reply
from codexdht.testing.outcome import Options, Outcome
from codexdht.testing.population import Churn, grow, join, settle, stop_share
from codexdht.testing.scenarios import SCENARIOS
from codexdht.testing.world import Spec, World, WorldSettings

__all__ = [
    "SCENARIOS",
    "Addresses",
    "Churn",
    "EventLoop",
    "Interface",
    "Latency",
    "Network",
    "Node",
    "Options",
    "Outcome",
    "Place",
    "Reply",
    "Spec",
    "Weather",
    "World",
    "WorldSettings",
    "grow",
    "join",
    "settle",
    "stop_share",
]
