"""20 nodes of the `kademlia` package in one process: set and get. Runs in a virtual environment of its own, see
benchmarks.peers.

Prints one JSON object: seconds of each operation by name, and how many found nothing.
"""

import asyncio
import json
import socket
import sys
import time

from kademlia.network import Server

NODES, KEYS = 20, 40


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def main() -> None:
    ports = [free_port() for _ in range(NODES)]
    nodes = [Server() for _ in range(NODES)]
    for node, port in zip(nodes, ports, strict=True):
        await node.listen(port, "127.0.0.1")
    for node in nodes[1:]:
        await node.bootstrap([("127.0.0.1", ports[0])])
    put, got, missing = [], [], 0
    for number in range(KEYS):
        started = time.perf_counter()
        await nodes[number % NODES].set(f"key {number}", "x" * 180)
        put.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = await nodes[(number * 7 + 3) % NODES].get(f"key {number}")
        got.append(time.perf_counter() - started)
        missing += found is None
    json.dump({"set": put, "get": got, "not found": missing}, sys.stdout)


asyncio.run(main())
