"""Paths as people write them."""

from __future__ import annotations

from pathlib import Path

from codexdht.errors import CodexDhtError


def expanded(path: Path | str, refusal: type[CodexDhtError]) -> Path:
    """Return a path with ~ replaced by the home directory. Raises `refusal` where there is no such directory."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise refusal(f"{str(path)!r}: there is no such home directory") from None
