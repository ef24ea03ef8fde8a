"""The scenarios: each takes options, simulates, and returns an Outcome. `SCENARIOS` names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from codexdht.routing.settings import RoutingSettings
from codexdht.testing.hostile import Gang
from codexdht.testing.measure import (
    Probe,
    Published,
    find_messages,
    holders,
    lookup_figures,
    mean,
    probe,
    probe_figures,
    probe_lookups,
    publish,
)
from codexdht.testing.network import Weather
from codexdht.testing.node import Node, Place, Reply
from codexdht.testing.outcome import Options, Outcome
from codexdht.testing.population import Churn, grow, join, settle, stop_share
from codexdht.testing.world import Spec, World, WorldSettings

Scenario = Callable[[Options], Outcome]

_WARM_UP: Final = 60.0
_ROUNDS: Final = 12
_NEW: Final = 120.0
_DEFAULT: Final = RoutingSettings()
_CALM: Final = RoutingSettings(revalidate_min=100.0, revalidate_max=200.0, refresh_after=3600.0)


class Stage:
    """A settled network with published keys: where most scenarios begin. The providers, one node in ten and 50 at most,
    stay when others leave: what is measured is whether a record is found whose provider is there."""

    def __init__(
        self, scenario: str, options: Options, *, grown: bool = False, routing: RoutingSettings = _DEFAULT
    ) -> None:
        self.options = options
        weather = Weather(loss=options.loss)
        settings = WorldSettings(
            seed=options.seed,
            level=options.level,
            weather=weather,
            routing=routing,
            traced=options.traced,
        )
        self.world = World(settings)
        if grown:
            self.nodes = grow(self.world, options.nodes)
        else:
            self.nodes = settle(self.world, options.nodes, sessions=options.sessions)
        self.world.loop.run_for(_WARM_UP)
        count = max(1, min(50, options.nodes // 10))
        self.providers = self.world.entropy.sample(self.nodes[3:], count)
        self.published = publish(self.world, self.providers, options.keys)
        self.outcome = Outcome(scenario=scenario, options=options)

    def probe(self, count: int, pause: float = 0.25) -> list[Probe]:
        """Search from random live nodes that are at least two minutes old."""
        return probe(self.world, self.published, count, askers=self.settled, pause=pause)

    def settled(self) -> list[Node]:
        """Return the live nodes, hostile ones left out, that have had time to find their place."""
        latest = max(self.world.now - _NEW, self.world.now / 2)
        return [node for node in self.world.alive() if node.born <= latest and not node.is_hostile]

    def note(self, probes: list[Probe], prefix: str = "") -> None:
        """Add what a set of probes says to the figures."""
        figures = probe_figures(probes, self.world.settings.median_rtt)
        self.outcome.figures.update({prefix + name: value for name, value in figures.items()})

    def observe(self, seconds: float, rounds: int, searches: int, series: str = "found") -> list[Probe]:
        """Search in rounds over a time; note the share found in each round as a series."""
        points = self.outcome.series.setdefault(series, [])
        probes: list[Probe] = []
        pause = seconds / rounds
        for _ in range(rounds):
            began = self.world.now
            batch = self.probe(max(1, searches // rounds), pause=min(0.25, pause * rounds / searches / 2))
            points.append((began, mean([int(p.found) for p in batch])))
            probes += batch
            self.world.loop.run_until(began + pause)
        return probes

    def finish(self, probes: list[Probe]) -> Outcome:
        """Return the outcome with latencies, table sizes and packets."""
        outcome, world = self.outcome, self.world
        outcome.samples["seconds"] = [p.seconds for p in probes]
        outcome.samples["find_messages"] = [float(p.messages) for p in probes]
        tables = [float(len(n.routing.table)) for n in world.alive() if not n.is_hostile]
        outcome.samples["table_entries"] = tables
        outcome.figures["table_entries_mean"] = mean(tables)
        outcome.figures["simulated_seconds"] = world.now
        outcome.figures["events"] = world.loop.done
        outcome.network = dict(sorted(world.network.counters.items()))
        outcome.trace = world.network.trace
        return outcome


def steady(options: Options) -> Outcome:
    """A network that has run for a day, 10 % of all table entries dead: searches, who holds what, and plain lookups."""
    stage = Stage("steady", options)
    held = [holders(stage.world, p) for p in stage.published]
    stage.outcome.figures["holders_of_16_mean"] = mean(held)
    stage.outcome.samples["holders_of_16"] = [float(h) for h in held]
    probes = stage.observe(options.hours * 3600, _ROUNDS, options.searches)
    stage.note(probes)
    lookups = probe_lookups(stage.world, options.searches // 2, askers=stage.settled)
    stage.outcome.figures.update(lookup_figures(lookups))
    stage.outcome.samples["lookup_seconds"] = [p.seconds for p in lookups]
    return stage.finish(probes)


def churn(options: Options) -> Outcome:
    """A share of the nodes is replaced every hour, while providers publish again by themselves."""
    stage = Stage("churn", options)
    stage.nodes = []  # most of them will be gone
    replacing = Churn(stage.world, options.churn, stage.providers)
    rounds = max(_ROUNDS, round(options.hours * 4))
    probes = stage.observe(options.hours * 3600, rounds, options.searches)
    held = [holders(stage.world, p) for p in stage.published]
    stage.outcome.figures["holders_of_16_at_end"] = mean(held)
    stage.outcome.figures["nodes_replaced"] = replacing.replaced
    stage.note(probes)
    return stage.finish(probes)


def outage(options: Options) -> Outcome:
    """30 % of all nodes stop at once; searches begin at that moment."""
    stage = Stage("outage", options)
    stage.note(stage.probe(options.searches // 4), "before_")
    stage.outcome.figures["nodes_stopped"] = stop_share(stage.world, 0.3, stage.providers)
    at_once = stage.probe(options.searches // 2, pause=0.1)
    stage.note(at_once, "at_once_")
    later = stage.observe(options.hours * 3600, _ROUNDS, options.searches)
    stage.note(later, "later_")
    return stage.finish(at_once + later)


def partition(options: Options) -> Outcome:
    """The network falls into two halves for ten minutes at most, and heals. Keys are published on one side then."""
    stage = Stage("partition", options)
    world = stage.world
    one = {node.peer[1] for node in world.entropy.sample(stage.nodes, len(stage.nodes) // 2)}
    world.network.partition(lambda address: int(address in one))
    during = stage.observe(min(600.0, options.hours * 3600), 6, options.searches // 2)
    stage.note(during, "parted_")
    side = [node for node in stage.providers if node.peer[1] in one] or stage.providers
    apart = publish(world, side, max(1, options.keys // 4))
    others = [node for node in stage.nodes if node.peer[1] not in one]
    world.network.heal()
    stage.published += apart
    stage.note(probe(world, apart, options.searches // 4, askers=lambda: others), "across_at_once_")
    healed = stage.observe(options.hours * 3600, _ROUNDS, options.searches)
    stage.note(healed, "healed_")
    stage.note(probe(world, apart, options.searches // 4, askers=lambda: others), "across_later_")
    return stage.finish(healed)


def orphans(options: Options) -> Outcome:
    """All bootstrap nodes of a grown network go for good; then a tenth of the nodes restarts from saved tables."""
    stage = Stage("orphans", options, grown=True)
    world = stage.world
    for node in stage.nodes[:3]:
        node.kill()
    stage.note(stage.observe(options.hours * 1800, _ROUNDS, options.searches // 2), "without_")
    spared = {id(node) for node in stage.providers}
    others = [node for node in world.alive() if id(node) not in spared]
    restarted = [world.restart(node) for node in world.entropy.sample(others, max(1, len(others) // 10))]
    world.loop.run_for(_NEW)
    back = probe(world, stage.published, options.searches // 4, askers=lambda: restarted)
    stage.note(back, "restarted_")
    stage.outcome.figures["restarted_nodes"] = len(restarted)
    stage.outcome.figures["restarted_table_entries"] = mean([len(node.routing.table) for node in restarted])
    later = stage.observe(options.hours * 1800, _ROUNDS, options.searches // 2, "found_later")
    stage.note(later, "later_")
    return stage.finish(later)


def hostile(options: Options) -> Outcome:
    """One /24 full of nodes that answer with each other introduces itself to everybody."""
    stage = Stage("hostile", options)
    world = stage.world
    stage.note(stage.probe(options.searches // 4), "before_")
    gang = Gang()
    gang.victims = [world.records.decode(node.record) for node in stage.nodes]
    members = [world.add(Spec(places=[_member(i)], gang=gang)) for i in range(min(254, options.nodes // 4))]
    for node in members:
        node.open()
        gang.records.append(world.records.decode(node.record))
    for node in members:
        node.start()
        world.loop.run_for(0.1)
    probes = stage.observe(options.hours * 3600, _ROUNDS, options.searches)
    stage.note(probes, "under_attack_")
    bad = {node.number for node in members}
    shares = [mean([int(e.number in bad) for e in n.routing.table]) for n in stage.nodes]
    stage.outcome.figures["hostile_nodes"] = len(members)
    stage.outcome.figures["hostile_share_of_entries"] = mean(shares)
    stage.outcome.figures["hostile_share_of_entries_worst"] = max(shares)
    return stage.finish(probes)


def _member(number: int) -> Place:
    address = (f"203.0.112.{number + 1}", 8090)
    return Place(address, address)


def crowd(options: Options) -> Outcome:
    """100 more nodes join from behind one public address, at a port each, and provide and search."""
    stage = Stage("crowd", options)
    world = stage.world
    members = []
    for port in range(100):
        address = ("198.51.99.7", 10_000 + port)
        members.append(join(world, stage.nodes, [Place(address, address)]))
        world.loop.run_for(0.5)
    world.loop.run_for(_NEW)
    stage.note(probe(world, stage.published, options.searches // 2, askers=lambda: members), "inside_")
    inside = publish(world, members, options.keys)
    stage.note(probe(world, inside, options.searches // 2, askers=lambda: stage.nodes), "outside_")
    stage.outcome.figures["crowd_table_entries"] = mean([len(node.routing.table) for node in members])
    stage.outcome.figures["holders_of_16_mean"] = mean([holders(world, p) for p in inside])
    return stage.finish(stage.probe(options.searches // 2))


def bulk(options: Options) -> Outcome:
    """One node publishes many keys (`keys`) with one request, compared with one lookup for each.

    Nobody joins or leaves, so all nodes look after their tables twenty times as seldom as usual: that would be most of
    the packets simulated, and says nothing here. Dead entries stay longer for it.
    """
    stage = Stage("bulk", _with_keys(options, 20), routing=_CALM)
    world = stage.world
    node = stage.providers[0]
    keys = [world.entropy.randbytes(32) for _ in range(options.keys)]
    alone = _cost_of_lookups(world, node)
    sent, began = find_messages(node), world.now
    node.add_provider(keys, _ignore, timeout=60.0)
    world.loop.run_for(options.keys / world.settings.routing.publish_rate + 60.0)
    stage.outcome.options = options
    figures = stage.outcome.figures
    figures["keys"] = len(keys)
    figures["find_messages_of_one_lookup"] = alone
    figures["find_messages"] = find_messages(node) - sent
    figures["share_of_lookups"] = figures["find_messages"] / (alone * len(keys))
    figures["simulated_seconds_taken"] = world.now - began
    sample = [Published(key, node) for key in world.entropy.sample(keys, min(len(keys), 100))]
    figures["holders_of_16_mean"] = mean([holders(world, p) for p in sample])
    stage.published = sample
    probes = stage.probe(options.searches)
    stage.note(probes)
    return stage.finish(probes)


def _ignore(_reply: Reply) -> None:
    """The stores are looked at instead."""


def _with_keys(options: Options, keys: int) -> Options:
    from msgspec.structs import replace

    return replace(options, keys=keys)


def _cost_of_lookups(world: World, node: Node, count: int = 20) -> float:
    sent = find_messages(node)
    replies: list[Reply] = []
    for _ in range(count):
        node.lookup(world.entropy.randbytes(32), replies.append)
        world.loop.run_for(1.5)
    return (find_messages(node) - sent) / count


SCENARIOS: Final[dict[str, Scenario]] = {
    "steady": steady,
    "churn": churn,
    "outage": outage,
    "partition": partition,
    "orphans": orphans,
    "hostile": hostile,
    "crowd": crowd,
    "bulk": bulk,
}
