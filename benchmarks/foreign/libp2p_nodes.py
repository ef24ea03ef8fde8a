"""20 nodes of py-libp2p with its kad_dht in one process: provide and find. Runs in a virtual environment of its own,
see benchmarks.peers.

Prints one JSON object: seconds of each operation by name, and how many found nothing.
"""

import json
import sys
import time
from contextlib import AsyncExitStack

import trio
from libp2p import new_host
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.peerinfo import PeerInfo
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

NODES, KEYS = 20, 40


async def start(stack: AsyncExitStack) -> tuple:
    host = new_host()
    await stack.enter_async_context(host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]))
    dht = KadDHT(host, DHTMode.SERVER)
    await stack.enter_async_context(background_trio_service(dht))
    return host, dht


async def main() -> None:
    async with AsyncExitStack() as stack:
        nodes = [await start(stack) for _ in range(NODES)]
        first = nodes[0][0]
        for host, dht in nodes[1:]:
            await host.connect(PeerInfo(first.get_id(), first.get_addrs()))
            await dht.add_peer(first.get_id())
            await nodes[0][1].add_peer(host.get_id())
        for _, dht in nodes:
            await dht.refresh_routing_table()
        provided, found, missing = [], [], 0
        for number in range(KEYS):
            started = time.perf_counter()
            await nodes[number % NODES][1].provide(f"key {number}")
            provided.append(time.perf_counter() - started)
            started = time.perf_counter()
            providers = await nodes[(number * 7 + 3) % NODES][1].find_providers(f"key {number}", 1)
            found.append(time.perf_counter() - started)
            missing += not providers
        json.dump({"provide": provided, "find": found, "not found": missing}, sys.stdout)
        sys.stdout.flush()


trio.run(main)
