"""Side by side with what a Python user would pick instead: py-libp2p's kad_dht and the `kademlia` package.

20 nodes each on loopback, 40 keys: one node provides (sets) a key, then another one finds (gets) it. The others' nodes
share one process, ours are 100 processes. The others are installed into a virtual environment made for the purpose, as
their requirements and ours may contradict each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import quantile
from benchmarks.load import Say
from benchmarks.report import table, write_json, write_markdown
from codexdht.errors import CodexDhtError
from codexdht.node import Node, new_protocol

NODES: Final = 20
KEYS: Final = 40
REQUIREMENTS: Final = ("libp2p==0.8.1", "kademlia==2.2.3")
_SCRIPTS: Final = {"py-libp2p kad_dht": "libp2p_nodes.py", "kademlia": "kademlia_nodes.py"}
_FOREIGN: Final = Path(__file__).parent / "foreign"
_INSTALL_SECONDS: Final = 600
_RUN_SECONDS: Final = 300
_JOIN_SECONDS: Final = 60.0
_TOGETHER: Final = 4


def measure_peers(say: Say) -> dict[str, Any]:
    """Return the rows; one that could not run holds the reason in "error"."""
    rows = {"codexdht": _own_row()}
    say(f"codexdht: {_summary(rows['codexdht'])}")
    with tempfile.TemporaryDirectory(prefix="cdxb-") as folder:
        problem = _install(Path(folder))
        for name, script in _SCRIPTS.items():
            rows[name] = {"error": problem} if problem else _foreign_row(Path(folder), _FOREIGN / script)
            say(f"{name}: {_summary(rows[name])}")
    return {"nodes": NODES, "keys": KEYS, "rows": rows}


def _install(folder: Path) -> str:
    """Install the others; return what went wrong, or nothing."""
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", *REQUIREMENTS],
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{command[-1]} was not installed within {_INSTALL_SECONDS} s"
        if done.returncode:
            return f"cannot install: {_last_line(done.stderr)}"
    return ""


def _foreign_row(venv: Path, script: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [str(venv / "bin" / "python"), str(script)],
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"did not end within {_RUN_SECONDS} s"}
    if done.returncode:
        return {"error": _last_line(done.stderr)}
    return _with_quantiles(json.loads(done.stdout))


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _own_row() -> dict[str, Any]:
    try:
        with tempfile.TemporaryDirectory(prefix="cdxb-") as folder, ExitStack() as stack:
            nodes = _start(Path(folder), stack)
            return _with_quantiles(_provide_and_find(nodes))
    except CodexDhtError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _start(folder: Path, stack: ExitStack) -> list[Node]:
    """Start all nodes, all but the first from the first, and wait until every table holds enough of the others."""

    def start(number: int, bootstrap: list[str]) -> Node:
        node = new_protocol(listen="/ip4/127.0.0.1/udp/0", bootstrap=bootstrap, data_dir=folder / f"{number}")
        stack.callback(node.close_wait)
        node.client.open(timeout=10.0)
        node.client.start(timeout=10.0)
        return node

    first = start(0, [])
    record = first.client.record().uri
    with ThreadPoolExecutor(_TOGETHER) as pool:
        nodes = [first, *pool.map(lambda number: start(number, [record]), range(1, NODES))]
    end = time.monotonic() + _JOIN_SECONDS
    while time.monotonic() < end and any(len(node.client.table(timeout=5.0)) < NODES - 4 for node in nodes):
        time.sleep(0.5)
    return nodes


def _provide_and_find(nodes: list[Node]) -> dict[str, Any]:
    provided: list[float] = []
    found: list[float] = []
    missing = 0
    for number in range(KEYS):
        key = number.to_bytes(32, "little")
        started = time.perf_counter()
        nodes[number % NODES].add_provider(key, timeout=10.0)
        provided.append(time.perf_counter() - started)
        started = time.perf_counter()
        providers = nodes[(number * 7 + 3) % NODES].get_providers(key, limit=1, timeout=10.0)
        found.append(time.perf_counter() - started)
        missing += not providers.providers
    return {"provide": provided, "find": found, "not found": missing}


def _with_quantiles(raw: dict[str, Any]) -> dict[str, Any]:
    """Return milliseconds at the median and the 95th percentile in place of the list of seconds."""
    row: dict[str, Any] = {"not found": raw.pop("not found")}
    for name, seconds in raw.items():
        ordered = sorted(seconds)
        row[name] = {"p50_ms": quantile(ordered, 0.5) * 1e3, "p95_ms": quantile(ordered, 0.95) * 1e3}
    return row


def _summary(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"could not run: {row['error']}"
    times = [
        f"{name} {v['p50_ms']:.2f} / {v['p95_ms']:.2f} ms" for name, v in row.items() if isinstance(v, dict)
    ]
    return ", ".join([*times, f"{row['not found']} not found"])


def peers_failed(result: dict[str, Any]) -> bool:
    """Tell whether a row could not run or did not find a key."""
    return any("error" in row or row["not found"] for row in result["rows"].values())


def write_peers(result: dict[str, Any]) -> str:
    """Write peers.json and peers.md; return the text of the latter."""
    lines = [[name, _summary(row)] for name, row in result["rows"].items()]
    text = (
        f"# {NODES} nodes on loopback: codexdht and other Python DHTs\n\nOn {result['machine']}. p50 / p95 of {KEYS} "
        "keys, each provided by one node and then found from another. The others hold a key on 20 nodes, here on all: "
        "their find is mostly answered from the asking node's own memory.\n\n"
        + table(["what", "measured"], lines)
    )
    write_json("peers", result)
    write_markdown("peers", text)
    return text
