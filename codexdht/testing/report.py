"""Outcomes on disk: JSON for programs, Markdown for people."""

from __future__ import annotations

from pathlib import Path

import msgspec

from codexdht.testing.outcome import Outcome


def write_json(outcome: Outcome, path: Path) -> None:
    """Write all of an outcome."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")


def markdown(outcome: Outcome, real_seconds: float, peak_megabytes: float) -> str:
    """Return the figures of an outcome as a section with a table."""
    options = outcome.options
    rows = "\n".join(f"| {name} | {_number(value)} |" for name, value in outcome.figures.items())
    packets = ", ".join(f"{name} {count:,}" for name, count in outcome.network.items())
    return (
        f"## {outcome.scenario}: {options.nodes:,} nodes\n\n"
        f"Options: {_options(outcome)}. Took {real_seconds:.0f} s of real time and {peak_megabytes:,.0f} MB.\n\n"
        f"| figure | value |\n|---|---|\n{rows}\n\nPackets: {packets}.\n"
    )


def _options(outcome: Outcome) -> str:
    fields = msgspec.to_builtins(outcome.options)
    return ", ".join(f"{name} {value}" for name, value in fields.items() if name != "nodes")


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
