"""One picture of an outcome: latencies, messages per search, success over time, table sizes. Needs the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codexdht.testing.outcome import Outcome


def write_png(outcome: Outcome, path: Path) -> None:
    """Draw an outcome. Raises ImportError when matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _cumulative(axes[0][0], outcome.samples.get("seconds", []))
    _histogram(axes[0][1], outcome.samples.get("find_messages", []), "FIND messages of a search")
    _success(axes[1][0], outcome)
    _histogram(axes[1][1], outcome.samples.get("table_entries", []), "entries in a routing table")
    figure.suptitle(f"{outcome.scenario}, {outcome.options.nodes:,} nodes, seed {outcome.options.seed}")
    figure.savefig(path, dpi=100)


def _cumulative(axes: Any, values: list[float]) -> None:
    ordered = sorted(values)
    axes.plot(ordered, [(i + 1) / len(ordered) for i in range(len(ordered))])
    axes.set_xlabel("getProviders, seconds")
    axes.set_ylabel("share answered")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)


def _histogram(axes: Any, values: list[float], label: str) -> None:
    axes.hist(values, bins=30)
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)


def _success(axes: Any, outcome: Outcome) -> None:
    for name, points in outcome.series.items():
        axes.plot([at / 3600 for at, _ in points], [share for _, share in points], marker=".", label=name)
    axes.set_xlabel("simulated hours")
    axes.set_ylabel("share found")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    if outcome.series:
        axes.legend()
