"""`python -m benchmarks [row …]`: measures a node from outside and writes benchmarks/results/.

Without rows it runs the load table (node.json, node.md, node.svg). `whole` stands for the rows of the node as a
whole, and `peers` for the comparison with other Python DHTs; `python -m benchmarks.store` measures the store alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import report
from benchmarks.load import measure_load
from benchmarks.processes import machine
from benchmarks.rows import ROWS
from benchmarks.whole import measure_whole, write_whole


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for. Returns 1 when a row of the load table could not run or lost requests."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=", ".join([*ROWS, "whole", "peers"]))
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each row; their median is reported")
    chosen = parser.parse_args(arguments)
    if unknown := [row for row in chosen.rows if row not in (*ROWS, "whole", "peers")]:
        parser.error(f"unknown row {unknown[0]!r}; rows are {', '.join([*ROWS, 'whole', 'peers'])}")
    failed = 0
    if loads := [row for row in chosen.rows if row in ROWS] or ([] if chosen.rows else list(ROWS)):
        failed = run_load(loads, chosen.rounds, complete=not chosen.rows)
    if "whole" in chosen.rows:
        run_whole()
    return failed


def run_load(names: list[str], rounds: int, complete: bool) -> int:
    """Run rows of the load table; all of them together are kept as a result, single ones are only shown."""
    say(f"on {machine()}")
    result: dict[str, Any] = measure_load(names, rounds, say)
    result |= {"machine": machine(), "round_count": rounds}
    text = report.load_markdown(result)
    say("\n" + text)
    if complete:
        report.write_json("node", result)
        report.write_markdown("node", text)
        say(report.plot_load(result))
    return int(any("error" in row or row["lost"] for row in result["rows"]))


def run_whole() -> None:
    """Run the rows of the node as a whole, and keep them."""
    say(write_whole(measure_whole(say) | {"machine": machine()}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
