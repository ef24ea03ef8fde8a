"""Runs whole nodes for a test, each as its four processes, but without its own supervisord and without importing
everything eighty times: the processes are forked from this one, which has imported it once.

A line on standard input is an order, in JSON: an object is the environment of a node to start, answered by a line with
its process ids; a list is process ids to end with SIGKILL, answered when they are gone. At the end of the input,
which also comes when the test itself is killed, all processes are killed.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess

from codexdht.actors import api, routing, store, wire
from codexdht.actors.process import Shell, run_actor
from codexdht.messages.internal import Actor

SHELLS: dict[Actor, Shell] = {
    Actor.WIRE: wire.shell,
    Actor.ROUTING: routing.shell,
    Actor.STORE: store.shell,
    Actor.API: api.shell,
}
FORK = multiprocessing.get_context("fork")


def run(actor: Actor, environ: dict[str, str]) -> None:
    """Be one actor of a node until the end."""
    os.environ.update(environ)
    sys.exit(run_actor(actor, SHELLS[actor]))


def start(environ: dict[str, str]) -> list[BaseProcess]:
    """Start the processes of a node."""
    processes: list[BaseProcess] = [FORK.Process(target=run, args=(actor, environ)) for actor in SHELLS]
    for process in processes:
        process.start()
    return processes


def kill(processes: list[BaseProcess]) -> None:
    """End processes without a word."""
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def main() -> None:
    """Follow the orders."""
    running: dict[int | None, BaseProcess] = {}
    gc.freeze()  # the memory that the processes share stays shared when they collect garbage
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, dict):
            answer = {process.pid: process for process in start(order)}
            running |= answer
        else:
            answer = {pid: running.pop(pid) for pid in order}
            kill(list(answer.values()))
        sys.stdout.write(json.dumps(list(answer)) + "\n")
        sys.stdout.flush()
    kill(list(running.values()))


if __name__ == "__main__":
    main()
