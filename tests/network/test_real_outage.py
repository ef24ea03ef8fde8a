"""A network of real nodes of which many are killed at once."""

from __future__ import annotations

import os
from typing import Any

from codexdht.entropy import seeded

NODES, KILLED, ASKERS = 20, 7, 2
HOLDERS = KILLED + ASKERS + 1
"""Nodes that must hold a key for one to be left; 16 do where the machine is not too busy."""


def test_every_key_is_found_after_a_third_of_the_nodes_is_killed(network: Any) -> None:
    """20 nodes in one process group publish two keys each; 7 of them, the one that all have joined by among them, are
    killed with SIGKILL. For every key, those of killed nodes included, two others that hold no copy find its record."""
    first = network.start()
    for _ in range(NODES - 1):
        network.start(bootstrap=[first.record])
    network.each(lambda node: node.meet(16), network.nodes)
    entropy = seeded(1)
    providers = [*network.nodes, *network.nodes]
    keys = [entropy.randbytes(32) for _ in providers]
    network.each(lambda node, key: network.publish(node, key, HOLDERS), providers, keys)

    assert {os.getpgid(pid) for node in network.nodes for pid in node.pids} == {network.group}
    network.kill(network.nodes[:KILLED])

    alive = network.nodes[KILLED:]
    asked = [
        (asker, key, provider)
        for key, provider in zip(keys, providers, strict=True)
        for asker in entropy.sample([node for node in alive if node is not provider], ASKERS)
    ]
    askers, wanted, expected = zip(*asked, strict=True)
    network.each(
        lambda asker, node: asker.client.remove_providers_local(node.record.peer_id), askers, expected
    )
    found = network.each(lambda asker, key: asker.find(key), askers, wanted)
    assert found == [[node.record.spr] for node in expected]
