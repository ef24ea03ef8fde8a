"""One node under load: starts it, has the load generator run every row, and reads what its processes spent."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, NamedTuple

from benchmarks.echo import measure_e
from benchmarks.generator import Order, Round, serve
from benchmarks.processes import CpuMeter, node_processes
from benchmarks.responders import Responders
from benchmarks.rounds import StealMeter, Taken, least_disturbed, run_rounds
from benchmarks.rows import ROWS, RowError
from codexdht.errors import CodexDhtError
from codexdht.node import Node, new_protocol

SETTINGS_NOTE: Final = "settings as shipped; the limits per source exempt loopback, so none had to be raised"
RESPONDERS: Final = 24
_SETTLE: Final = 0.2
"""Seconds after a round until its CPU time is read: what was announced is on disk within 0.1 s."""
_ROUND_SECONDS: Final = 60.0
_SATURATED: Final = 0.93
"""A process that runs for more than this share of a round is what limits it."""
_MICRO: Final = 1e6

Say = Callable[[str], None]


class Cost(NamedTuple):
    """What a round cost: CPU seconds of each process of the node, and E right before the round, in seconds."""

    round: Round
    cpu: dict[str, float]
    e: float = 0.0


class Generator:
    """The load generator's process, seen from here."""

    def __init__(self, node: Node) -> None:
        record = node.client.record()
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        address = endpoint_of_text(record.addresses[0])
        self._process = context.Process(target=serve, args=(theirs, record.spr, address), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, order: Order, pids: dict[str, int]) -> Cost:
        """Run a round. Raises RowError with the generator's reason when it cannot."""
        self._send(order)
        self._expect("ready")
        meter = CpuMeter(pids)
        self._send("go")
        self._expect("done")
        time.sleep(_SETTLE)
        cpu = meter.seconds()
        result = self._receive()
        assert isinstance(result, Round)
        return Cost(result, cpu)

    def _send(self, command: object) -> None:
        try:
            self._pipe.send(command)
        except BrokenPipeError:
            raise RowError("the load generator has died") from None

    def _expect(self, word: str) -> None:
        heard = self._receive()
        if heard != word:
            raise RowError(str(heard))

    def _receive(self) -> Any:
        if not self._pipe.poll(_ROUND_SECONDS):
            raise RowError(f"the load generator said nothing for {_ROUND_SECONDS:.0f} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RowError("the load generator has died") from None

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()


def endpoint_of_text(address: str) -> tuple[str, int]:
    """Return host and port of /ip4/…/udp/…"""
    _, _, host, _, port = address.split("/")
    return host, int(port)


@contextmanager
def running_node(**settings: object) -> Iterator[tuple[Node, Responders]]:
    """A started node in a fresh data directory, and the peers in its table."""
    folder = Path(tempfile.mkdtemp(prefix="cdxb-"))
    try:
        with (
            Responders(RESPONDERS) as responders,
            new_protocol(
                listen=f"/ip4/127.0.0.1/udp/{_free_port()}",
                bootstrap=responders.records,
                data_dir=folder / "node",
                settings={name.replace("__", "."): value for name, value in settings.items()},
            ) as node,
        ):
            node.open()
            node.start()
            yield node, responders
    finally:
        shutil.rmtree(folder)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class LoadTable:
    """Measures rows, one after the other, on one node. E is measured before every round, and a disturbed round is
    repeated (`benchmarks.rounds`): a shared machine changes from one second to the next."""

    def __init__(self, node: Node, rounds: int, say: Say) -> None:
        self._node = node
        self._rounds = rounds
        self._say = say
        self._generator: Generator | None = None
        self._pids: dict[str, int] = {}

    def measure(self, name: str) -> dict[str, Any]:
        """Return a row of the table, or one with the reason in "error" when it could not run. Then the next one gets a
        new generator: nobody knows what the old one was doing."""
        try:
            self._generator = self._generator or Generator(self._node)
            self._pids = node_processes(self._node.supervisor_pid)
            self._round(name, ROWS[name].requests // 10)
            taken = run_rounds(lambda: self._round(name, ROWS[name].requests), self._rounds)
        except (RowError, CodexDhtError, OSError) as error:
            self._say(f"{name}: could not run: {error}")
            self._close()
            return {"name": name, "about": ROWS[name].about, "error": str(error)}
        row = _row(name, taken, least_disturbed(taken, self._rounds))
        self._say(f"{name}: {row['cpu_us']:.1f} us, {row['rate_per_s']:.0f} answered/s, {row['lost']} lost")
        return row

    def _round(self, name: str, requests: int) -> Cost:
        e = measure_e(rounds=1)
        before = self._stored() if ROWS[name].stores else 0
        assert self._generator
        cost = self._generator.run(Order(name, requests), self._pids)
        if ROWS[name].stores:
            stored = self._stored() - before
            cost = cost._replace(round=cost.round._replace(answered=min(stored, cost.round.requests)))
        if not cost.round.answered:
            raise RowError("no request was answered")
        return cost._replace(e=e)

    def _stored(self) -> int:
        return int(self._node.client.stats().actors["store"].gauges["records"])

    def _close(self) -> None:
        if self._generator:
            self._generator.close()
        self._generator = None

    def __enter__(self) -> LoadTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


def _row(name: str, run: list[Taken[Cost]], counted: list[Taken[Cost]]) -> dict[str, Any]:
    """Return medians over the rounds that count; requests and losses are those of all that were run."""
    costs = [taken.value for taken in counted]
    rounds = [cost.round for cost in costs]
    processes = {
        process: median(cost.cpu[process] / cost.round.answered for cost in costs) * _MICRO
        for process in costs[0].cpu
    }
    requests = sum(taken.value.round.requests for taken in run)
    return {
        "name": name,
        "about": ROWS[name].about,
        "outstanding": ROWS[name].window,
        "requests": requests,
        "lost": requests - sum(taken.value.round.answered for taken in run),
        "rate_per_s": median(round.answered / round.seconds for round in rounds),
        "cpu_us": median(sum(cost.cpu.values()) / cost.round.answered for cost in costs) * _MICRO,
        "cpu_us_of": processes,
        "p50_ms": median(round.p50 for round in rounds) * 1e3,
        "p99_ms": median(round.p99 for round in rounds) * 1e3,
        "generator_share": median(round.generator_seconds / round.seconds for round in rounds),
        "limit": _limit(costs[len(costs) // 2]),
        "rounds_run": len(run),
        "rounds": [
            cost.round._asdict() | {"e_us": cost.e * _MICRO, "stolen": stolen} for cost, stolen in counted
        ],
    }


def _limit(cost: Cost) -> str:
    """Return what kept a round from being faster: the process that was always busy, the generator last."""
    seconds = cost.round.seconds
    busy, share = max(((name, cpu / seconds) for name, cpu in cost.cpu.items()), key=lambda item: item[1])
    if share >= _SATURATED:
        return busy
    return "generator" if cost.round.generator_seconds / seconds >= _SATURATED else ""


def measure_load(names: list[str], rounds: int, wires: int, say: Say) -> dict[str, Any]:
    """Return the load table: {"e_us", "rows", …}; costs in E are by the median E of the rounds that count."""
    with running_node(wire__processes=wires) as (node, _), LoadTable(node, rounds, say) as table:
        steal = StealMeter()
        rows = [table.measure(name) for name in names]
        stolen_share = steal.share()
    e_us = [round["e_us"] for row in rows for round in row.get("rounds", ())] or [measure_e() * _MICRO]
    e = median(e_us)
    for row in rows:
        if "error" not in row:
            row["cpu_e"] = row["cpu_us"] / e
            row["cpu_e_of"] = {process: us / e for process, us in row["cpu_us_of"].items()}
    return {
        "e_us": e,
        "e_us_all": e_us,
        "stolen_share": stolen_share,
        "settings": SETTINGS_NOTE + (f"; {wires} wire processes" if wires > 1 else ""),
        "rows": rows,
    }
