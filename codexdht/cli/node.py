"""Commands about the node itself: its processes, its key, its state."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from codexdht.cli import FAILED
from codexdht.cli.options import (
    AsJson,
    Config,
    Curve,
    DataDir,
    Endpoint,
    Timeout,
    client,
    expanded,
    known_data_dir,
    known_run_dir,
)


def up(
    data_dir: DataDir = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", help="UDP multiaddress to bind: /ip4/0.0.0.0/udp/8090. May be repeated."),
    ] = None,
    announce: Annotated[
        list[str] | None,
        typer.Option("--announce", help='Multiaddress that others reach it at, or "auto". May be repeated.'),
    ] = None,
    bootstrap: Annotated[
        list[str] | None,
        typer.Option("--bootstrap", help="Record (spr:…) of a node to join by. May be repeated."),
    ] = None,
    config: Config = None,
) -> None:
    """Run a node in the foreground.

    Its processes are supervised; Ctrl-C or `codexdht down` ends them.
    """
    from codexdht.node import run_foreground
    from codexdht.records import record_from_uri

    for uri in bootstrap or []:
        record_from_uri(uri)
    lists = {"LISTEN": listen, "ANNOUNCE": announce, "BOOTSTRAP": bootstrap}
    overrides = {f"CODEXDHT_NETWORK__{name}": ",".join(values) for name, values in lists.items() if values}
    if data_dir is not None:
        overrides["CODEXDHT_NODE__DATA_DIR"] = str(expanded(data_dir).absolute())
    raise typer.Exit(run_foreground(config, overrides))


def down(
    data_dir: DataDir = None,
    timeout: Annotated[
        float, typer.Option("--timeout", "-t", min=0.1, help="Seconds to wait for its end.")
    ] = 10.0,
) -> None:
    """Stop a node and wait until it has ended."""
    from codexdht.node import stop_node

    stop_node(known_run_dir(data_dir), timeout)


def status(
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 2.0,
    as_json: AsJson = False,
) -> None:
    """Show the node's state, counters and gauges."""
    from codexdht.cli.output import print_fields, print_json, print_table

    with client(data_dir, endpoint, timeout, curve) as node:
        stats = node.stats()
    if as_json:
        print_json(stats)
        return
    fields: list[tuple[str, object]] = [("node", stats.life), *stats.info.items()]
    if stats.missing:
        fields.append(("no answer from", ", ".join(stats.missing)))
    print_fields(fields)
    rows: list[tuple[str, str, Any]] = []
    for actor, numbers in stats.actors.items():
        rows += [(actor, name, value) for name, value in sorted(numbers.gauges.items())]
        rows += [(actor, name, value) for name, value in sorted(numbers.counters.items())]
    print_table(("actor", "what", "value"), rows)


def keygen(
    path: Annotated[
        Path | None, typer.Argument(help="File to write. Default: key in the data directory.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a new identity key. No key is overwritten."""
    from codexdht.actors.keyfile import create_key
    from codexdht.cli.output import print_fields, print_json
    from codexdht.entropy import SystemEntropy
    from codexdht.identity import node_id_of_public_key, peer_id_text

    file = expanded(path) if path else known_data_dir(data_dir) / "key"
    if file.exists():
        typer.echo(f"codexdht: {file} exists already; a key is never overwritten", err=True)
        raise typer.Exit(FAILED)
    public_key = create_key(file, SystemEntropy()).public_key
    made = {
        "file": str(file),
        "peerId": peer_id_text(public_key),
        "nodeId": node_id_of_public_key(public_key).hex(),
    }
    if as_json:
        print_json(made)
    else:
        print_fields([("key file", made["file"]), ("peer id", made["peerId"]), ("node id", made["nodeId"])])
