"""Whole simulated networks: equal seeds, equal runs; and what the machines must manage together, at up to 200 nodes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from codexdht.messages.internal import Actor, Lookup
from codexdht.records import multiaddress_of_endpoint
from codexdht.testing import (
    SCENARIOS,
    Node,
    Options,
    Place,
    Reply,
    Spec,
    Weather,
    World,
    WorldSettings,
    grow,
    settle,
    stop_share,
)
from codexdht.testing.measure import closest, holders, probe, probe_figures, publish
from codexdht.testing.world import Level

CALM = Weather(loss=0.0)


def world(level: Level = "fast", *, weather: Weather = CALM, **settings: Any) -> World:
    return World(WorldSettings(level=level, weather=weather, **settings))


def small(scenario: str, **options: Any) -> dict[str, float]:
    return SCENARIOS[scenario](Options(nodes=50, hours=0.02, keys=15, searches=60, **options)).figures


@pytest.mark.parametrize("level", ["real", "plain", "fast"])
def test_one_seed_gives_one_trace(level: Level) -> None:
    """Two runs of a seed agree in every byte of every packet; another seed does not."""

    def trace(seed: int) -> str:
        net = world(
            level, seed=seed, traced=True, weather=Weather(loss=0.02, duplication=0.02, reordering=0.1)
        )
        nodes = grow(net, 8)
        publish(net, nodes, 4)
        return net.network.trace

    assert trace(1) == trace(1) != trace(2)


def test_the_trace_does_not_depend_on_the_hash_seed() -> None:
    """Processes with different PYTHONHASHSEED see the same run."""
    program = (
        "from codexdht.testing import *\n"
        "o = SCENARIOS['churn'](Options(nodes=30, hours=0.02, keys=5, searches=10, churn=5.0, traced=True))\n"
        "print(o.trace, o.figures)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_messages_survive_the_codec_between_processes() -> None:
    """With every batch packed and unpacked the run is the same as without."""

    def trace(codec: bool) -> str:
        net = world("plain", traced=True, codec=codec)
        nodes = grow(net, 8)
        publish(net, nodes, 4)
        return net.network.trace

    assert trace(True) == trace(False)


@pytest.mark.parametrize("level", ["real", "plain", "fast"])
def test_grown_networks_find_what_they_provide(level: Level) -> None:
    """30 nodes that start one after the other from one address find every key, whatever the wire."""
    net = world(level)
    nodes = grow(net, 30)
    net.loop.run_for(30.0)
    published = publish(net, nodes, 15)
    figures = probe_figures(probe(net, published, 30), 0.1)
    assert figures["found_share"] == 1.0
    assert min(holders(net, wanted) for wanted in published) >= 14


def test_a_settled_network_answers_as_promised() -> None:
    """200 nodes, 2 % loss, 10 % of all entries dead: every call answered in time, 99 % found, 15 of 16 hold. Lookups
    come to the nodes that are really the closest, too."""
    figures = SCENARIOS["steady"](Options(nodes=200, hours=0.005, keys=30, searches=60)).figures
    assert figures["answered_share"] == 1.0
    assert figures["found_share"] >= 0.99
    assert figures["holders_of_16_mean"] >= 14.5
    assert figures["lookups"] == 30
    assert figures["lookup_right_of_16_mean"] >= 14


def test_lookups_return_the_closest_nodes() -> None:
    """In a calm network a lookup returns exactly the 16 closest live nodes, within the usual deadline of a second."""
    net = world()
    nodes = settle(net, 100, dead=0.0)
    net.loop.run_for(30.0)
    target = net.entropy.randbytes(32)
    replies: list[Reply] = []
    nodes[0].ask(Actor.ROUTING, Lookup, target, on_reply=replies.append)
    net.loop.run_for(1.1)
    assert replies[0].value["complete"]
    found = [net.records.decode(record).node_id for record in replies[0].value["nodes"]]
    expected = [node.node_id for node in closest(net, target, 17) if node is not nodes[0]]
    assert found == expected[:16]


def test_records_are_found_when_a_third_stops_at_once() -> None:
    """30 % of the nodes stop: what others provide is still found at once."""
    figures = small("outage")
    assert figures["at_once_found_share"] >= 0.98
    assert figures["later_found_share"] >= 0.98


def test_heavy_churn_is_survived() -> None:
    """With all nodes replaced twice an hour, records of providers that stay are found."""
    assert small("churn", churn=2.0)["found_share"] >= 0.98


def test_a_parted_network_heals() -> None:
    """What is published on one side is found from the other after the partition."""
    figures = small("partition")
    assert figures["healed_found_share"] >= 0.95
    assert figures["across_later_found_share"] >= 0.95


def test_a_network_lives_without_its_bootstrap_nodes() -> None:
    """Bootstrap nodes go for good; restarted nodes come back by their saved tables."""
    figures = small("orphans")
    assert figures["without_found_share"] >= 0.98
    assert figures["restarted_found_share"] >= 0.98


def test_a_hostile_network_does_not_take_over() -> None:
    """12 hostile nodes of one /24 among 62 hide no records."""
    figures = small("hostile")
    assert figures["under_attack_found_share"] >= 0.95
    assert figures["hostile_share_of_entries_worst"] <= 0.15


def test_a_hundred_nodes_behind_one_address_take_part() -> None:
    """They find what others provide, and others find what they provide."""
    figures = small("crowd")
    assert figures["inside_found_share"] >= 0.98
    assert figures["outside_found_share"] >= 0.95


def test_a_node_that_is_cut_off_keeps_its_table() -> None:
    """Five minutes without any answer cost a node nobody who lives, and it goes on where it was."""
    net = world(weather=Weather(loss=0.02))
    nodes = settle(net, 40)
    net.loop.run_for(60.0)
    alone = nodes[7]
    living = {node.number for node in nodes}
    before = {entry.number for entry in alone.routing.table} & living
    net.network.partition(lambda address: int(address == alone.peer[1]))
    net.loop.run_for(300.0)
    assert {entry.number for entry in alone.routing.table} >= before
    net.network.heal()
    net.loop.run_for(60.0)
    assert searches(net, alone, nodes[20])


def test_dead_nodes_leave_the_tables_after_an_outage() -> None:
    """When 30 % stop, those who stay do not blame themselves, and hardly a dead entry is left after ten minutes."""
    net = world(weather=Weather(loss=0.02))
    settle(net, 40, dead=0.0)
    stop_share(net, 0.3, [])
    net.loop.run_for(600.0)
    alive = {node.number for node in net.alive()}
    entries = [entry.number in alive for node in net.alive() for entry in node.routing.table]
    assert not any(node.routing.counters["failures_blamed_on_us"] for node in net.alive())
    assert entries.count(False) <= 0.05 * len(entries)


def test_many_keys_share_lookups() -> None:
    """300 keys of one request cost a small part of the lookups of 300 requests, and are all found."""
    options = Options(nodes=60, keys=300, searches=30)
    figures = SCENARIOS["bulk"](options).figures
    assert figures["share_of_lookups"] <= 0.1
    assert figures["found_share"] >= 0.98


def places(net: World, kind: str) -> list[Place]:
    v4, v6 = net.addresses.ipv4(), net.addresses.ipv6()
    return {
        "ip4": [Place(v4, v4)],
        "ip6": [Place(v6, v6)],
        "both": [Place(v4, v4), Place(v6, v6)],
        "nat": [Place(("192.168.1.2", 8090), v4, nat=True)],
    }[kind]


def join_at(net: World, bootstrap: Node, kind: str, *, client_mode: bool = False) -> Node:
    record = net.records.decode(bootstrap.record)
    spec = Spec([record], places=places(net, kind), voted=kind == "nat", client_mode=client_mode)
    node = net.add(spec)
    node.join()
    net.loop.run_for(0.5)
    return node


def searches(net: World, asker: Node, provider: Node) -> bool:
    published = publish(net, [provider], 4)
    return all(p.found for p in probe(net, published, 4, askers=lambda: [asker]))


def test_ipv6_nodes_find_each_other() -> None:
    """A network of IPv6 nodes alone works."""
    net = world("plain")
    first = net.add(Spec(places=places(net, "ip6")))
    first.join()
    nodes = [join_at(net, first, "ip6") for _ in range(12)]
    net.loop.run_for(30.0)
    assert searches(net, nodes[3], nodes[7])


def test_nodes_with_one_family_find_those_with_the_other() -> None:
    """60 nodes, of IPv4, of IPv6 and of both, one after the other: whoever searches finds what whoever provides, tables
    hold only nodes that can be reached, and nothing is sent without a socket for it."""
    net = world()
    first = net.add(Spec(places=places(net, "both")))
    first.join()
    kinds = ["both", *["ip4", "ip6", "both"] * 20][:60]
    nodes = [first, *(join_at(net, first, kind) for kind in kinds[1:])]
    net.loop.run_for(30.0)
    of_kind = {kind: [n for n, k in zip(nodes, kinds, strict=True) if k == kind] for kind in kinds}
    for (asking, askers), (_, providers) in itertools.product(of_kind.items(), of_kind.items()):
        assert searches(net, askers[1], providers[2])
        unreached = {"ip4": "ip6", "ip6": "ip4"}.get(asking)
        strangers = [node.node_id for node in of_kind[unreached]] if unreached else []
        assert not any(node.routing.table.get(stranger) for node in askers for stranger in strangers)
    assert net.network.counters["no_route"] == 0


def test_nodes_behind_nats_can_search_and_provide() -> None:
    """Nodes that only answers reach find and are found, as others store for them."""
    net = world("plain")
    nodes = grow(net, 20)
    hidden = [join_at(net, nodes[0], "nat") for _ in range(4)]
    net.loop.run_for(60.0)
    assert searches(net, hidden[0], nodes[5])
    assert searches(net, nodes[6], hidden[1])


def test_the_announced_address_follows_the_network() -> None:
    """A node that knows only its private address announces, in the end, the one that others see."""
    net = world("plain")
    nodes = grow(net, 20)
    hidden = join_at(net, nodes[0], "nat")
    net.loop.run_for(240.0)
    seen = multiaddress_of_endpoint(hidden.places[0].seen)
    assert seen in net.records.decode(hidden.record).addresses


def test_client_mode_nodes_are_in_nobodys_table() -> None:
    """A client finds what others provide, and no table holds it."""
    net = world("plain")
    nodes = grow(net, 20)
    client = join_at(net, nodes[0], "ip4", client_mode=True)
    net.loop.run_for(60.0)
    assert searches(net, client, nodes[5])
    assert all(node.routing.table.get(client.node_id) is None for node in nodes)


def test_outcomes_can_be_written() -> None:
    """An outcome is plain data: JSON and back gives the same."""
    outcome = SCENARIOS["steady"](Options(nodes=20, hours=0.01, keys=3, searches=5))
    from codexdht.testing import Outcome

    assert msgspec.json.decode(msgspec.json.encode(outcome), type=Outcome) == outcome
