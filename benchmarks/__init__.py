"""Measures a whole node from outside: its cost under load, its latencies, its memory, its times.

`python -m benchmarks` explains itself with --help; `docs/performance.md` discusses the figures.
"""
