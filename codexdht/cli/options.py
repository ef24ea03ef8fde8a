"""Options that many commands share, and the client that follows from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from codexdht.client import Client

_CONNECT_SECONDS: Final = 2.0
_CONFIG: Final = Path("config/codexdht.toml")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", "-d", help="Data directory of the node. Default: as configured.")
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", "-e", help="The node's API: ipc://… or tcp://… Default: in the data directory."
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", "-t", min=0.1, max=60, help="Seconds after which to be content with what there is."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration file. Default: config/codexdht.toml.")
]


def client(data_dir: Path | None, endpoint: str | None, timeout: float) -> Client:
    """Return a client of the node that is meant. Raises ConfigError when the configuration is needed, and wrong."""
    from codexdht.client import Client

    return Client(endpoint or _endpoint(data_dir), timeout=timeout, connect_timeout=_CONNECT_SECONDS)


def _endpoint(data_dir: Path | None) -> str:
    """Return where the node listens. The configuration is only read where there is one: that takes its time."""
    from codexdht.client import default_endpoint

    configured = "CODEXDHT_CONFIG" in os.environ or _CONFIG.is_file()
    return default_endpoint(_configured_data_dir() if data_dir is None and configured else data_dir)


def known_data_dir(data_dir: Path | None) -> Path:
    """Return the data directory that is meant. Raises ConfigError."""
    return (data_dir or _configured_data_dir()).expanduser().absolute()


def _configured_data_dir() -> Path:
    from codexdht.node import default_data_dir

    return default_data_dir()
