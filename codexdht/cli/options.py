"""Options that many commands share, and the client that follows from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from codexdht import paths
from codexdht.errors import InvalidParams

if TYPE_CHECKING:
    from codexdht.client import Client, CurveKeys
    from codexdht.config import Config as NodeConfig

_CONNECT_SECONDS: Final = 2.0
_CONFIG: Final = Path("config/codexdht.toml")
_TELLING: Final = frozenset({"CODEXDHT_CONFIG", "CODEXDHT_API__ENDPOINTS"})
"""Variables that say where the node listens, besides those that `default_endpoint` reads."""

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", "-d", help="Data directory of the node. Default: as configured.")
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", "-e", help="The node's API: ipc://… or tcp://… Default: in the data directory."
    ),
]
Curve = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--curve",
        metavar="SERVER_KEY CLIENT_KEY",
        help="For tcp:// to another machine: files with the node's public key and your own secret one.",
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


def client(
    data_dir: Path | None, endpoint: str | None, timeout: float, curve: tuple[Path, Path] | None
) -> Client:
    """Return a client of the node that is meant. Raises InvalidParams for bad keys, and ConfigError when the
    configuration is needed, and wrong."""
    from codexdht.client import Client

    keys = None if curve is None else _curve_keys(*curve)
    if keys is not None and not (endpoint or "").startswith("tcp://"):
        raise InvalidParams("--curve is for --endpoint tcp://…; other endpoints have no keys")
    return Client(
        endpoint or _endpoint(data_dir), timeout=timeout, connect_timeout=_CONNECT_SECONDS, curve=keys
    )


def _curve_keys(server: Path, own: Path) -> CurveKeys:
    """Return the keys in two files as `zmq.auth.create_certificates` writes them. Raises InvalidParams."""
    from codexdht.client import CurveKeys

    server_public, _ = _certificate(server)
    public, secret = _certificate(own)
    if secret is None:
        raise InvalidParams(
            f"--curve: {own} holds no secret key; it is in the file that ends with .key_secret"
        )
    return CurveKeys(server_public, public, secret)


def _certificate(path: Path) -> tuple[bytes, bytes | None]:
    """Return the public key in a file, and the secret one if it is there."""
    from zmq.auth import load_certificate

    try:
        return load_certificate(expanded(path))
    except (OSError, ValueError):
        raise InvalidParams(f"--curve: {path} is not a CURVE key file that can be read") from None


def _endpoint(data_dir: Path | None) -> str:
    """Return where the node listens. The configuration is only read where it may tell: that takes its time."""
    from codexdht.client import default_endpoint

    if not _CONFIG.is_file() and _TELLING.isdisjoint(os.environ):
        return default_endpoint(None if data_dir is None else expanded(data_dir))
    from codexdht.node import local_endpoint

    endpoint = local_endpoint(_configured(data_dir))
    if endpoint is None:
        raise InvalidParams("the node listens on none but tcp:// with keys; give --endpoint and --curve")
    return endpoint


def known_data_dir(data_dir: Path | None) -> Path:
    """Return the data directory that is meant. Raises ConfigError and InvalidParams."""
    return _configured().data_dir if data_dir is None else expanded(data_dir).absolute()


def known_run_dir(data_dir: Path | None) -> Path:
    """Return the run directory that is meant. Raises ConfigError and InvalidParams."""
    return _configured(data_dir).run_dir


def _configured(data_dir: Path | None = None) -> NodeConfig:
    """Return the configuration of a node that `up` runs on a data directory. Raises ConfigError and InvalidParams."""
    from codexdht.node import default_config

    return default_config(None if data_dir is None else expanded(data_dir))


def expanded(path: Path) -> Path:
    """Return a path with ~ replaced. Raises InvalidParams."""
    try:
        str(path).encode()
    except UnicodeError:
        raise InvalidParams(f"{str(path)!r}: expected a path in UTF-8") from None
    return paths.expanded(path, InvalidParams)
