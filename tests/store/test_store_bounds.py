"""What the store keeps in memory for speed stays within its bounds, and is what the tables say."""

from __future__ import annotations

from codexdht.store.memory_backend import MemoryBackend
from codexdht.store.peers import Peers
from codexdht.store.sources import NO_SOURCE, Sources


def test_providers_in_memory() -> None:
    """As many as the setting says, found by id and by number alike; the others are read again, and removed ones are
    gone from both."""
    peers = Peers(MemoryBackend(), 4)
    ids = [bytes([number]) * 32 for number in range(10)]
    numbers = [peers.create(node_id, seq, b"record").number for seq, node_id in enumerate(ids)]
    assert len(set(numbers)) == 10
    for _ in range(2):
        for seq, (node_id, number) in enumerate(zip(ids, numbers, strict=True)):
            assert peers.find(node_id) == peers.get(number) == (number, node_id, seq, b"record")
            assert len(peers._known) == len(peers._by_id) <= 4
    for node_id, number in zip(ids, numbers, strict=True):
        peers.remove(number)
        assert peers.find(node_id) is None
    assert len(peers._known) == len(peers._by_id) == peers.count() == 0


def test_networks_in_memory() -> None:
    """Any number of addresses may come by; whether one is remembered or not, it counts to the same network."""
    sources = Sources("public")
    for number in range(10_000):
        assert sources.of(f"8.{number // 250}.{number % 250}.1") == bytes((8, number // 250, number % 250))
        assert len(sources._known) <= 4096
    assert sources.of("2a00::1:2") == sources.of("2a00::3:4") == bytes.fromhex("2a00000000000000")
    assert sources.of("::ffff:8.8.8.8") == sources.of("8.8.8.9")
    assert sources.of("10.0.0.1") == NO_SOURCE
