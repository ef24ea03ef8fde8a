"""One network of real nodes with IPv4, with IPv6, and with both."""

from __future__ import annotations

from typing import Any

from codexdht.entropy import seeded

V4, V6 = "/ip4/127.0.0.1/udp/0", "/ip6/::1/udp/0"
LISTEN = {"both": [V4, V6], "ip4": [V4], "ip6": [V6]}
FAMILIES = {"both": ["ip4", "ip6"], "ip4": ["ip4"], "ip6": ["ip6"]}
IN_REACH = {"both": 11, "ip4": 7, "ip6": 7}
"""Nodes that a node can send to, where there are four of each kind."""
SLOW = 3
"""Nodes that may be too late to store a key, on a busy machine; one that has both families is left at least."""


def families(node: Any) -> list[str]:
    return [address.split("/")[1] for address in node.record.addresses]


def test_nodes_of_one_family_find_those_of_the_other(network: Any) -> None:
    """Four nodes of each kind know all whom they can send to, and send nothing to others. What a node provides is found
    from every other node, across the families through nodes that have both."""
    first = network.start(*LISTEN["both"])
    kinds = ["both"] * 4 + ["ip4"] * 4 + ["ip6"] * 4
    for kind in kinds[1:]:
        network.start(*LISTEN[kind], bootstrap=[first.record])
    assert [families(node) for node in network.nodes] == [FAMILIES[kind] for kind in kinds]
    in_reach = [IN_REACH[kind] for kind in kinds]
    network.each(lambda node, count: node.meet(count), network.nodes, in_reach)

    entropy = seeded(1)
    keys = [entropy.randbytes(32) for _ in network.nodes]
    network.each(
        lambda node, key, count: network.publish(node, key, count - SLOW), network.nodes, keys, in_reach
    )
    for key, provider in zip(keys, network.nodes, strict=True):
        others = [node for node in network.nodes if node is not provider]
        found = network.each(lambda node, key=key: node.find(key), others)
        assert found == [[provider.record.spr]] * 11

    tables = [len(node.client.table()) for node in network.nodes]
    assert all(size <= count for size, count in zip(tables, in_reach, strict=True))
    counters = [node.client.stats().actors["wire"].counters for node in network.nodes]
    assert [of_one.get("udp_no_socket", 0) for of_one in counters] == [0] * 12
