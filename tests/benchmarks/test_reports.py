"""What the benchmarks say, above all when something went wrong; and that generator and node still fit together."""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import pytest

from benchmarks import load
from benchmarks.generator import Order, Round, quantile
from benchmarks.load import Generator, running_node
from benchmarks.processes import CpuMeter, node_processes
from benchmarks.report import TARGETS, load_markdown
from benchmarks.rounds import Taken
from benchmarks.rows import ROWS

ROW: dict[str, Any] = {
    "name": "ping",
    "about": "PING",
    "outstanding": 64,
    "requests": 1000,
    "lost": 0,
    "rate_per_s": 5000.0,
    "cpu_us": 20.0,
    "cpu_us_of": {"wire": 15.0, "store": 5.0, "api": 0.01},
    "cpu_e": 4.0,
    "cpu_e_of": {"wire": 3.0, "store": 1.0, "api": 0.002},
    "p50_ms": 1.0,
    "p99_ms": 2.0,
    "limit": "wire",
    "rounds_run": 2,
    "rounds": [{"stolen": 0.011}, {"stolen": 0.004}],
}
RESULT: dict[str, Any] = {
    "machine": "m",
    "e_us": 5.0,
    "e_us_all": [5.0],
    "stolen_share": 0.031,
    "settings": "s",
    "round_count": 3,
}


def test_a_row_with_losses_says_so() -> None:
    """Its rate is never shown as that of a row without."""
    text = load_markdown(RESULT | {"rows": [ROW | {"lost": 3}]})
    assert "**3**" in text
    assert "5,000 with losses" in text


def test_a_row_that_could_not_run_says_why() -> None:
    """The reason stands where the figures would."""
    text = load_markdown(RESULT | {"rows": [{"name": "ping", "about": "PING", "error": "no answer"}]})
    assert "could not run: no answer" in text


def test_every_process_is_told_in_both_units() -> None:
    """Whoever compares machines needs E of each process, too; one that does nothing for a request is 0."""
    assert "| 4.0 | 3.5 | 20.0 | 15.0 (3.0) | 5.0 (1.0) | 0 |" in load_markdown(RESULT | {"rows": [ROW]})


def test_every_wire_process_is_told() -> None:
    """However many there are."""
    costs = {"wire": 7.0, "wire-1": 6.0, "wire-2": 5.0, "wire-7": 4.0}
    text = load_markdown(RESULT | {"rows": [ROW | {"cpu_us_of": costs, "cpu_e_of": costs}]})
    assert "| us | wire | wire-1 | wire-2 | wire-7 | p50 ms |" in text
    assert "| 7.0 (7.0) | 6.0 (6.0) | 5.0 (5.0) | 4.0 (4.0) |" in text


def test_the_head_says_what_the_host_took() -> None:
    """Whoever reads the figures learns whether the machine was all theirs."""
    assert "gave 3.1% of its cores to others" in load_markdown(RESULT | {"rows": [ROW]})


def test_the_head_says_how_many_rounds_were_left_out() -> None:
    """Nobody takes the quietest rounds for all of them."""
    assert "(none was left out)" in load_markdown(RESULT | {"rows": [ROW]})
    text = load_markdown(RESULT | {"rows": [ROW | {"rounds_run": 5}]})
    assert "(3 of 5 were left out; of those that count it took at most 1.1%)" in text


def test_losses_of_rounds_left_out_are_told() -> None:
    """A round that lost requests is not hidden by leaving it out."""
    cost = load.Cost(Round(100, 100, 1.0, 0.5, 0.1, 0.2), {"wire": 0.5})
    lossy = cost._replace(round=cost.round._replace(answered=90))
    row = load._row("ping", [Taken(lossy, 0.3), Taken(cost, 0.0)], [Taken(cost, 0.0)])
    assert (row["requests"], row["lost"], row["rounds_run"], len(row["rounds"])) == (200, 10, 2, 1)


def test_cpu_time_is_read_while_threads_come_and_go() -> None:
    """A thread that ends between being listed and being read, as an actor's watchdog does, is no error."""
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            threading.Thread(target=int).start()

    churner = threading.Thread(target=churn)
    churner.start()
    try:
        meter = CpuMeter({"me": os.getpid()})
        assert all(meter.seconds()["me"] >= 0 for _ in range(2000))
    finally:
        over.set()
        churner.join()


def test_every_target_has_a_row() -> None:
    """A row that is renamed does not lose its target silently."""
    assert set(TARGETS) <= set(ROWS)


def test_quantiles() -> None:
    """Of nothing there is none."""
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0], 0.99) == 3.0
    assert math.isnan(quantile([], 0.5))


@pytest.mark.parametrize(
    ("wire", "generator", "limit"), [(0.99, 0.5, "wire"), (0.5, 0.99, "generator"), (0.5, 0.5, "")]
)
def test_the_limit_of_a_round_is_named(wire: float, generator: float, limit: str) -> None:
    """A process that was always busy is the limit, and the load generator only when none of the node's was."""
    cost = load.Cost(Round(100, 100, 1.0, generator, 0.1, 0.2), {"wire": wire, "store": 0.1})
    assert load._limit(cost) == limit


def test_a_node_answers_the_generator() -> None:
    """Rounds of several rows run on a real node, lose nothing, and cost CPU time in the actors that serve them."""
    with running_node() as (node, _):
        generator = Generator(node)
        pids = node_processes(node.supervisor_pid)
        assert set(pids) == {"supervisord", "wire", "routing", "store", "api"}
        for row, server in (("ping", "wire"), ("find_node_fast", "routing"), ("get_providers_20", "store")):
            cost = generator.run(Order(row, 640), pids)
            assert cost.round.answered == cost.round.requests == 640
            assert cost.cpu[server] > 0
        generator.close()
        assert min(CpuMeter(pids).seconds().values()) >= 0
