"""Results on disk: JSON for programs, Markdown for people, a plot for both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from benchmarks.rounds import left_out
from codexdht.messages.internal import Actor, process_name

RESULTS: Final = Path(__file__).parent / "results"

TARGETS: Final[dict[str, tuple[float, float]]] = {
    "ping": (3.5, 55_000),
    "find_node_fast": (9, 20_000),
    "get_providers_1": (6, 36_000),
    "get_providers_20": (14, 12_000),
    "add_provider": (14, 15_000),
    "talk_req": (5, 40_000),
    "handshake": (30, 3_500),
    "ping_300_peers": (4, 0),
}
"""E a request at most, and requests a second at least; 0: none is set."""

_LEAST_US: Final = 0.05
_MOST_WIRES: Final = 8
_PROCESSES: Final = (
    *(process_name(Actor.WIRE, number) for number in range(_MOST_WIRES)),
    "routing",
    "store",
    "api",
    "supervisord",
)


def write_json(name: str, result: dict[str, Any]) -> None:
    """Write a result file."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def write_markdown(name: str, text: str) -> None:
    """Write a result for people."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)


def table(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"


def load_markdown(result: dict[str, Any]) -> str:
    """Return the load table for people."""
    processes = _processes(result["rows"])
    head = ["request", "outstanding", "requests", "lost", "answered/s", "E", "at most", "us", *processes]
    lines = [_load_line(row, processes) for row in result["rows"]]
    run = sum(row.get("rounds_run", 0) for row in result["rows"])
    stolen = [round["stolen"] for row in result["rows"] for round in row.get("rounds", ())]
    spread = f"{min(result['e_us_all']):.2f} to {max(result['e_us_all']):.2f}"
    return (
        f"# One node under load, loopback\n\nOn {result['machine']}. E = {result['e_us']:.2f} us (median; {spread} "
        f"in this run): server CPU of a blocking UDP echo of 120 bytes. The host of this machine gave "
        f"{result['stolen_share']:.1%} of its cores to others. Node: {result['settings']}. Each figure is the median "
        f"of {result['round_count']} rounds, those in which the host took least ({left_out(run, stolen)}); requests "
        "and losses are those of all that were run. CPU is in us a request, of all processes and of each, there with E "
        "in brackets. A limit is named where one process was busy all the time.\n\n"
        + table([*head, "p50 ms", "p99 ms", "limit"], lines)
    )


def _processes(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names of the node's processes, as far as rows tell what they cost."""
    return [name for name in _PROCESSES if any(name in row.get("cpu_us_of", ()) for row in rows)]


def _load_line(row: dict[str, Any], processes: list[str]) -> list[str]:
    if "error" in row:
        return [row["about"], f"could not run: {row['error']}", *[""] * (9 + len(processes))]
    target = TARGETS.get(row["name"])
    rate = f"{row['rate_per_s']:,.0f}" if not row["lost"] else f"{row['rate_per_s']:,.0f} with losses"
    return [
        row["about"],
        str(row["outstanding"]),
        f"{row['requests']:,}",
        f"**{row['lost']:,}**" if row["lost"] else "0",
        rate + (f" (target {target[1]:,})" if target and target[1] else ""),
        f"{row['cpu_e']:.1f}",
        f"{target[0]:g}" if target else "",
        f"{row['cpu_us']:.1f}",
        *(_cost_of(row, process) for process in processes),
        f"{row['p50_ms']:.2f}",
        f"{row['p99_ms']:.2f}",
        row["limit"] or "-",
    ]


def _cost_of(row: dict[str, Any], process: str) -> str:
    """Return what a request costs a process, in us and in E."""
    us, e = (row[unit].get(process, 0.0) for unit in ("cpu_us_of", "cpu_e_of"))
    return f"{us:.1f} ({e:.1f})" if us >= _LEAST_US else "0"


def plot_load(result: dict[str, Any]) -> str:
    """Draw E a request of every process beside the target; returns what was done."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "no plot: matplotlib is not installed (extra `plot`)"
    rows = [row for row in result["rows"] if "error" not in row and row["outstanding"] > 1][::-1]
    figure = Figure(figsize=(9, 0.5 * len(rows) + 1.5), layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(rows)
    for process in _processes(rows):
        widths = [row["cpu_e_of"].get(process, 0.0) for row in rows]
        axes.barh([row["about"] for row in rows], widths, left=left, label=process)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for number, row in enumerate(rows):
        if row["name"] in TARGETS:
            axes.plot([TARGETS[row["name"]][0]] * 2, [number - 0.4, number + 0.4], color="black")
    axes.set_xlabel(f"CPU a request in E (E = {result['e_us']:.1f} us); black: the target")
    axes.legend()
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "node.svg")
    return f"plot in {RESULTS / 'node.svg'}"
