"""The figures of `benchmarks.store` as Markdown."""

from __future__ import annotations

from typing import Any


def table(r: dict[str, Any]) -> str:
    """Return the figures with their targets, one a row."""

    def cost(us: float) -> str:
        return f"{us:.1f} µs, {us / r['e_us']:.1f} E"

    def turns(figures: dict[str, float]) -> str:
        return f"{figures['longest_turn_ms']:.1f} ms; 99 % below {figures['p99_turn_ms']:.1f} ms"

    def resident(figures: dict[str, float]) -> str:
        return f"{figures['anon']:.1f} MB of its own, {figures['file']:.0f} MB of mapped files"

    million = f"{r['records']:,} records"
    rows = [
        (f"ADD_PROVIDER while filling to {million}", cost(r["add"]["cpu_us"]), ""),
        ("… rate, on disk", f"{r['add']['rate_per_s']:,.0f}/s", "15,000/s"),
        ("… longest turn of 100 requests", turns(r["add"]), ""),
        (f"ADD_PROVIDER, {r['paced']['rate_per_s']:,} a second: longest turn", turns(r["paced"]), ""),
        ("ADD_PROVIDER, first 10,000 records", cost(r["add_10k"]["cpu_us"]), ""),
        ("GET_PROVIDERS, 10,000 records", cost(r["get_10k_cpu_us"]), ""),
        (f"GET_PROVIDERS, {million}", cost(r["get_cpu_us"]), ""),
        ("… ratio", f"{r['get_ratio']:.2f}", "at most 1.3"),
        ("GET_PROVIDERS of a hot key", cost(r["get_hot_cpu_us"]), ""),
        ("disk, file", f"{r['file_mb']:.0f} MB", "250 MB"),
        ("disk, used pages", f"{r['used_mb']:.0f} MB", ""),
        ("memory added by filling it, without mapped pages", f"{r['memory_mb']:.1f} MB", ""),
        ("process that opens it", resident(r["process"]["opened"]), ""),
        ("… and answers 500,000 random GETs", resident(r["process"]["served"]), ""),
        (
            f"removal of {r['removal']['keys']:,} keys: answered after",
            f"{r['removal']['answered_ms']:.0f} ms",
            "",
        ),
        ("… longest turn until all are deleted", turns(r["removal"]), "50 ms"),
        ("expiry of all records: one record", cost(r["expiry"]["cpu_us"]), ""),
        ("… rate", f"{r['expiry']['rate_per_s']:,.0f}/s", ""),
        ("… longest turn", turns(r["expiry"]), "10 ms"),
    ]
    if "turnover" in r:
        t = r["turnover"]
        rows.append(
            (
                f"file after {t['times']} turnovers of {t['records']:,} records",
                f"{t['largest_mb'] / t['full_mb']:.2f} × full",
                "2 × full",
            )
        )
    lines = ["| what | measured | target |", "|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in rows)]
    head = (
        f"Provider store: {million} of {r['providers']:,} providers. E = {r['e_us']:.2f} µs. {r['machine']}."
    )
    return "\n".join([head, "", *lines, ""])
