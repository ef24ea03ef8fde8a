"""`python -m benchmarks.profile [row]`: a flame graph of where the time of a row goes, in one process of the node.

py-spy samples the actor that works most in the row, 500 times a second for 4 s, with C functions; the graph is kept
as benchmarks/results/profile-ROW-ACTOR.svg.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.generator import Order
from benchmarks.load import Generator, running_node
from benchmarks.processes import node_processes
from benchmarks.report import RESULTS
from benchmarks.rows import ROWS, RowError
from codexdht.errors import CodexDhtError

_SERVERS: Final = {"find_node_fast": "routing", "add_provider": "store"}
_SECONDS: Final = 4
_RATE: Final = 500


def record(row: str, actor: str, py_spy: str) -> Path:
    """Run rounds of a row while py-spy watches an actor. Raises RowError when either does not work."""
    graph = RESULTS / f"profile-{row}-{actor}.svg"
    with running_node() as (node, _):
        generator = Generator(node)
        pids = node_processes(node.supervisor_pid)
        generator.run(Order(row, ROWS[row].requests // 10), pids)
        command = [
            py_spy,
            "record",
            "--rate",
            str(_RATE),
            "--duration",
            str(_SECONDS),
            "--output",
            str(graph),
        ]
        with subprocess.Popen(
            [*command, "--pid", str(pids[actor])], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as spy:
            end = time.monotonic() + _SECONDS
            while time.monotonic() < end:
                generator.run(Order(row, ROWS[row].requests), pids)
            said, _ = spy.communicate()
        generator.close()
    if spy.returncode:
        raise RowError(f"py-spy: {said.strip()}")
    return graph


def main(arguments: Sequence[str]) -> int:
    """Profile a row. Returns 1, saying why, when that is not possible."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("row", nargs="?", default="ping", choices=ROWS)
    parser.add_argument(
        "--actor", choices=["wire", "routing", "store"], help="default: wire, or who serves the row"
    )
    chosen = parser.parse_args(arguments)
    actor = chosen.actor or _SERVERS.get(chosen.row, "wire")
    py_spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if py_spy is None:
        sys.stderr.write("py-spy is not installed: pip install 'codexdht[bench]'\n")
        return 1
    try:
        graph = record(chosen.row, actor, py_spy)
    except (RowError, CodexDhtError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{graph}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
