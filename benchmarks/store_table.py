"""The figures of `benchmarks.store` as Markdown."""

from __future__ import annotations

from typing import Any

Row = tuple[str, str, str]
"""What was measured, the figure, and its target."""


def table(r: dict[str, Any]) -> str:
    """Return the figures with their targets, one a row."""
    rows = [*_adding(r), *_getting(r), *_room(r), *_removing(r)]
    lines = ["| what | measured | target |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    head = (
        f"Provider store: {r['records']:,} records of {r['providers']:,} providers. E = {r['e_us']:.2f} µs. "
        f"{r['machine']}."
    )
    return "\n".join([head, "", *lines, ""])


def _adding(r: dict[str, Any]) -> list[Row]:
    add, paced = r["add"], r["paced"]
    return [
        (f"ADD_PROVIDER while filling to {r['records']:,} records", _cost(r, add["cpu_us"]), ""),
        ("… rate, on disk", f"{add['rate_per_s']:,.0f}/s", "15,000/s"),
        ("… longest turn of 100 requests", _turns(add), ""),
        (f"ADD_PROVIDER, {paced['rate_per_s']:,} a second: longest turn", _turns(paced), ""),
        ("ADD_PROVIDER, first 10,000 records", _cost(r, r["add_10k"]["cpu_us"]), ""),
    ]


def _getting(r: dict[str, Any]) -> list[Row]:
    return [
        ("GET_PROVIDERS, 10,000 records", _cost(r, r["get_10k_cpu_us"]), ""),
        (f"GET_PROVIDERS, {r['records']:,} records", _cost(r, r["get_cpu_us"]), ""),
        ("… ratio", f"{r['get_ratio']:.2f}", "at most 1.3"),
        ("GET_PROVIDERS of a hot key", _cost(r, r["get_hot_cpu_us"]), ""),
    ]


def _room(r: dict[str, Any]) -> list[Row]:
    return [
        ("disk, file", f"{r['file_mb']:.0f} MB", "250 MB"),
        ("disk, used pages", f"{r['used_mb']:.0f} MB", ""),
        ("memory added by filling it, without mapped pages", f"{r['memory_mb']:.1f} MB", ""),
        ("process that opens it", _resident(r["process"]["opened"]), ""),
        ("… and answers 500,000 random GETs", _resident(r["process"]["served"]), ""),
    ]


def _removing(r: dict[str, Any]) -> list[Row]:
    removal, expiry = r["removal"], r["expiry"]
    rows = [
        (f"removal of {removal['keys']:,} keys: answered after", f"{removal['answered_ms']:.0f} ms", ""),
        ("… longest turn until all are deleted", _turns(removal), "50 ms"),
        ("expiry of all records: one record", _cost(r, expiry["cpu_us"]), ""),
        ("… rate", f"{expiry['rate_per_s']:,.0f}/s", ""),
        ("… longest turn", _turns(expiry), "10 ms"),
    ]
    if "turnover" in r:
        t = r["turnover"]
        what = f"file after {t['times']} turnovers of {t['records']:,} records"
        rows.append((what, f"{t['largest_mb'] / t['full_mb']:.2f} × full", "2 × full"))
    return rows


def _cost(r: dict[str, Any], us: float) -> str:
    return f"{us:.1f} µs, {us / r['e_us']:.1f} E"


def _turns(figures: dict[str, float]) -> str:
    return f"{figures['longest_turn_ms']:.1f} ms; 99 % below {figures['p99_turn_ms']:.1f} ms"


def _resident(figures: dict[str, float]) -> str:
    return f"{figures['anon']:.1f} MB of its own, {figures['file']:.0f} MB of mapped files"
