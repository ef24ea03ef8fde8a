"""`python -m benchmarks [row …]`: measures a node from outside and writes benchmarks/results/.

Without rows it runs the load table (node.json, node.md, node.svg), as does `load`. `whole` stands for the rows of the
node as a whole, `peers` for the comparison with other Python DHTs, and `wires` for one and two wire processes.
`python -m benchmarks.store` measures the store alone, and `python -m benchmarks.profile` shows where the time goes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import report
from benchmarks.load import measure_load
from benchmarks.peers import measure_peers, peers_failed, write_peers
from benchmarks.processes import machine
from benchmarks.rows import ROWS
from benchmarks.whole import measure_whole, whole_failed, write_whole
from codexdht.errors import CodexDhtError


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


_GROUPS = ("load", "whole", "peers", "wires")
_MANY_PEERS = ("ping_300_peers", "handshake")


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for. Returns 1 when a row could not run, lost requests or did not find a key."""
    choices = (*_GROUPS, *ROWS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=", ".join(choices))
    parser.add_argument(
        "--rounds", type=_at_least_one, default=5, help="rounds of each row; their median is reported"
    )
    parser.add_argument(
        "--wires", type=_at_least_one, default=1, help="wire processes of the node (wire.processes)"
    )
    chosen = parser.parse_args(arguments)
    if unknown := [row for row in chosen.rows if row not in choices]:
        parser.error(f"unknown row {unknown[0]!r}; rows are {', '.join(choices)}")
    complete = "load" in chosen.rows or not chosen.rows
    loads = list(ROWS) if complete else [row for row in chosen.rows if row in ROWS]
    groups: dict[str, Callable[[], int]] = {
        "load": lambda: run_load(loads, chosen.rounds, chosen.wires, complete and chosen.wires == 1),
        "wires": lambda: run_wires(chosen.rounds),
        "whole": run_whole,
        "peers": run_peers,
    }
    wanted = [name for name in groups if name in chosen.rows or (name == "load" and loads)]
    return max(_attempt(name, groups[name]) for name in wanted)


def _attempt(name: str, run: Callable[[], int]) -> int:
    """Run a group; where its node does not start, say why, and let the next group have its turn."""
    try:
        return run()
    except (CodexDhtError, OSError) as error:
        say(f"{name}: could not run: {error}")
        return 1


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def run_load(names: list[str], rounds: int, wires: int, complete: bool) -> int:
    """Run rows of the load table; all of them together are kept as a result, single ones are only shown."""
    say(f"on {machine()}")
    result, text = _load(names, rounds, wires)
    say("\n" + text)
    if complete:
        report.write_json("node", result)
        report.write_markdown("node", text)
        say(report.plot_load(result))
    return _failed(result)


def run_wires(rounds: int) -> int:
    """Run the rows of many peers with one and with two wire processes, and keep the result."""
    results = {wires: _load(_MANY_PEERS, rounds, wires) for wires in (1, 2)}
    text = "\n".join(text for _, text in results.values())
    say(text)
    report.write_json("wires", {str(wires): result for wires, (result, _) in results.items()})
    report.write_markdown("wires", text)
    return int(any(_failed(result) for result, _ in results.values()))


def run_whole() -> int:
    """Run the rows of the node as a whole, and keep the result."""
    result = measure_whole(say) | {"machine": machine()}
    say(write_whole(result))
    return int(whole_failed(result))


def run_peers() -> int:
    """Run the comparison with other Python DHTs, and keep the result."""
    result = measure_peers(say) | {"machine": machine()}
    say(write_peers(result))
    return int(peers_failed(result))


def _load(names: Sequence[str], rounds: int, wires: int) -> tuple[dict[str, Any], str]:
    result: dict[str, Any] = measure_load(list(names), rounds, wires, say)
    result |= {"machine": machine(), "round_count": rounds}
    return result, report.load_markdown(result)


def _failed(result: dict[str, Any]) -> int:
    return int(any("error" in row or row["lost"] for row in result["rows"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
