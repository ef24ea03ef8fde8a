"""The load generator's process: it prepares a round, runs it on command, and tells what came of it."""

from __future__ import annotations

import gc
import os
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.peer import Target
from benchmarks.rows import ROWS, Load, RowError
from codexdht.entropy import SystemEntropy
from codexdht.records import Endpoint, decode_record


class Round(NamedTuple):
    """One round: requests made and answered, seconds from the first to the last answer, the generator's own CPU
    seconds in that time, and latencies in seconds at the median and the 99th percentile."""

    requests: int
    answered: int
    seconds: float
    generator_seconds: float
    p50: float
    p99: float


class Order(NamedTuple):
    """Command to prepare a round."""

    row: str
    requests: int


def serve(orders: Connection, record: bytes, address: Endpoint) -> None:
    """Take an Order, answer "ready" (or a RowError's text), wait for "go", run, say "done", send the Round; and so on
    until None comes."""
    load = Load(Target(decode_record(record), address), SystemEntropy())
    while (order := orders.recv()) is not None:
        try:
            _serve_round(orders, load, order)
        except (RowError, ConnectionError) as error:
            orders.send(f"{error}")
    os._exit(0)  # millions of kept packets need not be freed one by one


def _serve_round(orders: Connection, load: Load, order: Order) -> None:
    row = ROWS[order.row]
    prepared = row.prepare(load, order.requests, row.window)
    gc.collect()
    gc.freeze()
    gc.disable()
    orders.send("ready")
    orders.recv()
    raw = prepared.run()
    orders.send("done")
    gc.enable()
    latencies = sorted(prepared.read(raw))
    orders.send(
        Round(
            requests=len(raw.sent) * prepared.per_burst,
            answered=len(latencies) * prepared.per_burst,
            seconds=raw.seconds,
            generator_seconds=raw.cpu_seconds,
            p50=quantile(latencies, 0.5),
            p99=quantile(latencies, 0.99),
        )
    )


def quantile(ordered: list[float], share: float) -> float:
    """Return the value below which this share of ordered values lies; nan when there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")
