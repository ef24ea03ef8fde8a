"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

_WIDE: Final = 500


def print_json(value: Any) -> None:
    """Print a result as JSON: bytes in hex, records without their bytes (the uri is the same)."""
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    sys.stdout.write(json.dumps(_jsonable(plain), indent=2) + "\n")


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _jsonable(item) for name, item in value.items() if name != "spr"}
    return [_jsonable(item) for item in value] if isinstance(value, list) else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table: as wide as the terminal, and as wide as it needs when it goes to a file or a program."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    console = Console()
    (console if console.is_terminal else Console(width=_WIDE)).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print one name and value a line; values are never cut."""
    pairs = [(name, str(value)) for name, value in fields]
    width = max(len(name) for name, _ in pairs)
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in pairs)


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def seconds(value: float | None) -> str:
    """Return a duration for people: 12 ms, 3.4 s, 5 min, 2 h, or a dash."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if value < limit:
            return f"{value / size:.3g} {unit}"
    return f"{value / 86400:.3g} d"
