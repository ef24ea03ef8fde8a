"""`make demo`: two nodes on loopback, one record, one killed process. Ends with 0 only if every step held."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from codexdht.errors import CodexDhtError
from codexdht.node import Node, actor_pid, new_protocol

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
"""The Codex manifest CID of the 11 bytes "hello world"."""

T = TypeVar("T")


class Failure(Exception):
    """A step did not hold."""


class Steps:
    """Prints each step with the time it took."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def run(self, what: str, step: Callable[[], T]) -> T:
        """Do a step, say how long it took, and return what it returned."""
        started = time.monotonic()
        result = step()
        took = time.monotonic() - started
        print(f"{started - self._started:7.3f} s  {what} ({took * 1000:.0f} ms)", flush=True)
        return result

    @staticmethod
    def say(text: str) -> None:
        """Print a line below a step."""
        print(f"{'':11}{text}", flush=True)


def require(condition: object, otherwise: str) -> None:
    """Raise Failure with a text where a condition does not hold."""
    if not condition:
        raise Failure(otherwise)


def start_node(data_dir: Path, bootstrap: list[str]) -> Node:
    """Start, open and start a node on a free port of loopback, and wait until it is on the network."""
    node = new_protocol(
        listen="/ip4/127.0.0.1/udp/0",
        announce="auto",
        bootstrap=bootstrap,
        data_dir=data_dir,
    )
    node.open()
    node.start()
    return node


def wait_for(condition: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Ask until the answer is true; raise Failure when it does not become so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.01)
    raise Failure(f"{what} did not happen within {seconds:.0f} s")


def kill_store(node: Node) -> int:
    """Kill the node's store process with SIGKILL; return its pid."""
    pid = actor_pid(node.config.run_dir, "store")
    if pid is None:
        raise Failure("the store does not run")
    os.kill(pid, signal.SIGKILL)
    return pid


def wait_for_store(node: Node, killed: int) -> int:
    """Wait until another store process runs and answers; return its pid."""

    def back() -> int | None:
        pid = actor_pid(node.config.run_dir, "store")
        return pid if pid != killed else None

    pid = wait_for(back, "the store's restart")
    assert pid is not None
    node.client.get_providers_local(cid=CID, timeout=5.0)
    return pid


def demo(steps: Steps, folder: Path, nodes: list[Node]) -> None:
    """The main job, step by step; nodes that were started are added to `nodes`."""
    nodes.append(
        steps.run("node A runs: supervisord and four processes", lambda: start_node(folder / "a", []))
    )
    provider = nodes[0]
    record = provider.client.record()
    steps.say(f"its record: {record.uri[:60]}…")
    nodes.append(
        steps.run("node B runs, bootstrapping from A", lambda: start_node(folder / "b", [record.uri]))
    )
    seeker = nodes[1]
    steps.run("A and B have found each other", lambda: wait_for(seeker.client.table, "meeting"))

    steps.say(f"CID {CID}")
    added = steps.run("A publishes that it provides the CID", lambda: provider.add_provider(cid=CID))
    require(added.nodes == 1, f"the record went to {added.nodes} nodes, not to B")
    found = steps.run("B finds the provider", lambda: seeker.get_providers(cid=CID)).providers
    require([r.peer_id for r in found] == [record.peer_id], f"B found {found}")
    steps.say(f"provider {found[0].peer_id}, seq {found[0].seq}, at {', '.join(found[0].addresses)}")

    killed = kill_store(provider)
    alive = steps.run(
        f"A's store, pid {killed}, killed; supervisord has it back", lambda: wait_for_store(provider, killed)
    )
    steps.say(f"the new store has pid {alive}")
    removed = seeker.remove_providers_local(record.peer_id)
    steps.say(f"B forgets its own copy ({removed} record), so that only A can answer")
    again = steps.run("B finds the provider again", lambda: seeker.get_providers(cid=CID)).providers
    require([r.spr for r in again] == [found[0].spr], f"B found {again} after the restart")


def main() -> int:
    """Run the demonstration in a folder of its own, which is removed."""
    steps = Steps()
    nodes: list[Node] = []
    with tempfile.TemporaryDirectory(prefix="codexdht-") as folder:
        try:
            demo(steps, Path(folder), nodes)
        except (Failure, CodexDhtError) as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
        finally:
            for name, node in zip("AB", nodes, strict=False):
                steps.run(f"node {name} stopped", node.close_wait)
        codes = [node.exit_code for node in nodes]
        leftovers = [str(path) for node in nodes for path in node.config.run_dir.iterdir()]
    if any(codes) or leftovers:
        print(f"FAILED: exit codes {codes}, left behind {leftovers}", file=sys.stderr)
        return 1
    print("every step held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
