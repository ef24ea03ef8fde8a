"""The node as a whole: API latencies, memory, start, restart of killed actors."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Coroutine
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

from benchmarks.generator import quantile
from benchmarks.load import Say, endpoint_of_text, running_node
from benchmarks.peer import Peer, Target
from benchmarks.processes import memory, node_processes
from benchmarks.report import table, write_json, write_markdown
from benchmarks.rounds import Taken, least_disturbed, left_out, run_rounds
from benchmarks.rows import RowError
from benchmarks.sockets import connected
from codexdht.client import AsyncClient
from codexdht.entropy import SystemEntropy
from codexdht.errors import ApiError, CodexDhtError
from codexdht.node import Node, new_protocol
from codexdht.records import decode_record

TARGETS: Final = (
    "Targets: start 1.5 s; restart of any actor 1 s; memory 130 MB together, no actor over 32 MB; API from local state "
    "0.3 / 2 ms at p50 / p99; fast calls beside 20 slow lookups 5 ms at p99."
)
KEY: Final = bytes(range(32))
_CALLS: Final = 1000
_ROUNDS: Final = 5
_MIXED_ROUNDS: Final = 3
_FAST: Final = 44
_SLOW: Final = 20
_MIXED_SECONDS: Final = 8.0
_PAUSE: Final = 0.05
_PEER_SECONDS: Final = 0.4
_STARTS: Final = 5
_IDLE_SECONDS: Final = 5.0
_RESTART_SECONDS: Final = 30.0
_MB: Final = 1e6


def api_local(node: Node, calls: int = _CALLS, rounds: int = _ROUNDS) -> dict[str, Any]:
    """One client, one call after the other, of what the node knows itself: its record, and a provider it holds."""
    node.client.add_provider(KEY, timeout=10.0)
    rows: dict[str, Any] = {}
    for name, call in (
        ("record", node.client.record),
        ("get_providers_local", lambda: node.client.get_providers_local(KEY)),
    ):
        taken = run_rounds(partial(_round, call, calls), rounds)
        rows[name] = _medians(taken, rounds)
    return rows


def _round(call: Callable[[], object], calls: int) -> dict[str, float]:
    return _latencies([_timed(call) for _ in range(calls)])


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _latencies(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "calls": len(ordered),
        "p50_ms": quantile(ordered, 0.5) * 1e3,
        "p99_ms": quantile(ordered, 0.99) * 1e3,
        "longest_ms": ordered[-1] * 1e3,
    }


def _medians(taken: list[Taken[dict[str, float]]], count: int) -> dict[str, Any]:
    """Return the median of every figure over the rounds that count, and what became of the others."""
    counted = least_disturbed(taken, count)
    row: dict[str, Any] = {name: median(round.value[name] for round in counted) for name in counted[0].value}
    return row | {"rounds": f"{count} ({left_out(len(taken), [round.stolen for round in counted])})"}


def api_mixed(node: Node, slow_down: Callable[[float], None], rounds: int = _MIXED_ROUNDS) -> dict[str, Any]:
    """64 clients: 20 always have a lookup in flight among peers that take 0.4 s to answer, the others call 20 times a
    second."""
    slow_down(_PEER_SECONDS)
    taken = run_rounds(lambda: _mixed_round(node), rounds)
    return {
        name: _medians([Taken(round[name], stolen) for round, stolen in taken], rounds)
        for name in ("slow lookups", "fast calls")
    }


def _mixed_round(node: Node) -> dict[str, dict[str, float]]:
    context = get_context("spawn")
    slow, fast = ((context.Pipe(), work) for work in (_slow_clients, _fast_clients))
    processes = []
    for (_, theirs), work in (slow, fast):
        processes.append(context.Process(target=work, args=(theirs, node.client.endpoint), daemon=True))
        processes[-1].start()
        theirs.close()
    found = [_received(pipe[0]) for pipe, _ in (slow, fast)]
    for process in processes:
        process.join()
    return {"slow lookups": _latencies(found[0]), "fast calls": _latencies(found[1])}


def _received(pipe: Connection) -> list[float]:
    """Return what a load process measured. Raises RowError with its reason when it failed."""
    try:
        found = pipe.recv()
    except EOFError:
        raise RowError("a load process has died") from None
    if isinstance(found, str):
        raise RowError(found)
    return cast("list[float]", found)


def _fast_clients(result: Connection, endpoint: str) -> None:
    _send(result, _many(_FAST, endpoint, lambda client: client.get_providers_local(KEY), _PAUSE))


def _slow_clients(result: Connection, endpoint: str) -> None:
    _send(result, _many(_SLOW, endpoint, lambda client: client.lookup(os.urandom(32), timeout=5.0), 0.0))


def _send(result: Connection, measuring: Coroutine[Any, Any, list[float]]) -> None:
    """Send what was measured, or the text of what went wrong."""
    try:
        result.send(asyncio.run(measuring))
    except (CodexDhtError, OSError) as error:
        result.send(f"{type(error).__name__}: {error}")


async def _many(count: int, endpoint: str, call: Callable[[AsyncClient], Any], pause: float) -> list[float]:
    """Return how long the calls of so many clients took."""
    end = time.monotonic() + _MIXED_SECONDS
    taken: list[float] = []

    async def one() -> None:
        async with AsyncClient(endpoint) as client:
            while time.monotonic() < end:
                await asyncio.sleep(pause * 2 * random.random())
                started = time.perf_counter()
                await call(client)
                taken.append(time.perf_counter() - started)

    await asyncio.gather(*(one() for _ in range(count)))
    return taken


def idle_memory(node: Node) -> dict[str, Any]:
    """Memory of every process of an idle node, in MB: resident, and proportional."""
    time.sleep(_IDLE_SECONDS)
    found = {name: memory(pid) for name, pid in node_processes(node.supervisor_pid).items()}
    rows = {name: {"rss_mb": m.rss / _MB, "pss_mb": m.pss / _MB} for name, m in found.items()}
    return rows | {
        "together": {kind: sum(row[kind] for row in rows.values()) for kind in ("rss_mb", "pss_mb")}
    }


def start_seconds() -> dict[str, float]:
    """From the supervisord command to the first answer of the API, on a fresh data directory."""
    taken = []
    for _ in range(_STARTS):
        with tempfile.TemporaryDirectory(prefix="cdxb-") as folder:
            started = time.perf_counter()
            node = new_protocol(listen="/ip4/127.0.0.1/udp/0", data_dir=Path(folder) / "n")
            taken.append(time.perf_counter() - started)
            node.close_wait()
    return {"median_s": median(taken), "longest_s": max(taken), "starts": len(taken)}


def restart_seconds(node: Node) -> dict[str, float]:
    """From the kill of each actor to what it serves being served again."""
    record = node.client.record()
    target = Target(decode_record(record.spr), endpoint_of_text(record.addresses[0]))
    served: dict[str, Callable[[], object]] = {
        "wire": lambda: _session(target),
        "routing": lambda: node.client.table(timeout=0.1),
        "store": lambda: node.client.get_providers_local(KEY, timeout=0.1),
        "api": lambda: node.client.record(timeout=0.1),
    }
    return {actor: _restart(node, actor, serve) for actor, serve in served.items()}


def _session(target: Target) -> None:
    with connected(target.address, 0.05) as sock:
        Peer(target, SystemEntropy()).connect(sock)


def _restart(node: Node, actor: str, serve: Callable[[], object]) -> float:
    os.kill(node_processes(node.supervisor_pid)[actor], signal.SIGKILL)
    started = time.perf_counter()
    while time.perf_counter() - started < _RESTART_SECONDS:
        try:
            serve()
        except (ApiError, OSError):
            continue
        taken = time.perf_counter() - started
        time.sleep(2.0)
        return taken
    raise RowError(f"{actor} did not come back within {_RESTART_SECONDS:.0f} s")


def measure_whole(say: Say) -> dict[str, Any]:
    """Return all rows of the node as a whole; one that cannot run has the reason in its place."""
    result: dict[str, Any] = {}

    def measure(name: str, row: Callable[[], dict[str, Any]]) -> None:
        try:
            result[name] = row()
        except (RowError, CodexDhtError, OSError) as error:
            result[name] = {"error": f"{type(error).__name__}: {error}"}
        say(f"{name}: {result[name]}")

    measure("start", start_seconds)
    with running_node() as (node, responders):
        measure("memory", lambda: idle_memory(node))
        measure("api_local", lambda: api_local(node))
        measure("restart", lambda: restart_seconds(node))
        measure("api_mixed", lambda: api_mixed(node, responders.slow_down))
    return result


def whole_failed(result: dict[str, Any]) -> bool:
    """Tell whether a row could not run."""
    return any("error" in row for row in result.values() if isinstance(row, dict))


def write_whole(result: dict[str, Any]) -> str:
    """Write whole.json and whole.md; return the text of the latter."""
    lines = [
        [f"{name} {key}", _figures(value)]
        for name, row in result.items()
        if isinstance(row, dict)
        for key, value in row.items()
    ]
    text = f"# The node as a whole\n\nOn {result['machine']}. {TARGETS}\n\n" + table(
        ["what", "measured"], lines
    )
    write_json("whole", result)
    write_markdown("whole", text)
    return text


def _figures(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_figures(item)}" for key, item in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)
