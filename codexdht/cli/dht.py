"""Commands that ask a running node something, one call each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from codexdht.cli import FAILED
from codexdht.cli.options import AsJson, Curve, DataDir, Endpoint, Timeout, client

if TYPE_CHECKING:
    from codexdht.client import Record

KeyText = Annotated[
    str, typer.Argument(metavar="KEY", help="A CID, a node id (hex), a peer id, or an Ethereum address.")
]
KeyTexts = Annotated[list[str], typer.Argument(metavar="KEY…", help="CIDs, or keys of another form.")]
NodeText = Annotated[
    str, typer.Argument(metavar="NODE", help="A record (spr:…), a peer id, or a node id (hex).")
]


def record(
    *,
    kind: Annotated[
        Literal["dht", "provider"], typer.Option("--kind", help="Which of the two records.")
    ] = "dht",
    uri: Annotated[bool, typer.Option("--uri", help="Print the spr:… text alone.")] = False,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Show the node's own signed record. Others bootstrap from its spr:… text."""
    from codexdht.cli.output import print_json, say

    with client(data_dir, endpoint, timeout, curve) as node:
        own = node.record("dht") if kind == "dht" else node.record("provider")
    if as_json:
        print_json(own)
    elif own is not None:
        say(own.uri) if uri else _print_record(own)
    if own is None:
        _not_found(f"the node has no {kind} record")


def provide(
    keys: KeyTexts,
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Publish that this node provides these keys.

    It is published again and again, until it is withdrawn.
    """
    from codexdht.cli.output import print_json, say
    from codexdht.cli.targets import key_of

    wanted = [key_of(text) for text in keys]
    with client(data_dir, endpoint, timeout, curve) as node:
        added = node.add_provider(wanted[0]) if len(wanted) == 1 else node.add_providers(wanted)
    if as_json:
        print_json(added)
        return
    more = "" if added.complete else "; more are being sent"
    say(f"stored here, and {added.nodes} record{'s' * (added.nodes != 1)} sent to other nodes{more}")


def withdraw(
    keys: KeyTexts,
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Publish these keys no longer. Other nodes forget them within a day."""
    from codexdht.cli.output import print_json, say
    from codexdht.cli.targets import key_of

    wanted = [key_of(text) for text in keys]
    with client(data_dir, endpoint, timeout, curve) as node:
        node.withdraw(wanted)
    if as_json:
        print_json({"withdrawn": len(wanted)})
    else:
        say(f"{len(wanted)} key{'s' * (len(wanted) != 1)} withdrawn")


def find(
    key: KeyText,
    *,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, max=10_000, help="So many providers do.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Only look into this node's own store.")] = False,
    own: Annotated[
        bool, typer.Option("--own", help="Also show this node itself, if it provides the key.")
    ] = False,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Find who provides a CID (or another key)."""
    from codexdht.cli.output import print_json
    from codexdht.cli.targets import key_of

    wanted = key_of(key)
    with client(data_dir, endpoint, timeout, curve) as node:
        if local:
            found = node.get_providers_local(wanted, limit=limit)
        else:
            found = node.get_providers(wanted, limit=limit, own=own)
    if as_json:
        print_json(found)
    elif found.providers:
        _print_records(found.providers)
    if not found.providers:
        _not_found("no providers found" + ("" if found.complete else " in this time"))


def resolve(
    node_text: NodeText,
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Find the newest record of a node."""
    from codexdht.cli.output import print_json
    from codexdht.cli.targets import id_of

    wanted = id_of(node_text)
    with client(data_dir, endpoint, timeout, curve) as node:
        found = node.resolve(wanted)
    if as_json:
        print_json(found)
    elif found is not None:
        _print_record(found)
    if found is None:
        _not_found("no record found")


def ping(
    node_text: NodeText,
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ping a node. Code 4 if it does not answer, or nobody knows it."""
    from codexdht.cli.output import print_fields, print_json, seconds
    from codexdht.cli.targets import node_of

    wanted = node_of(node_text)
    with client(data_dir, endpoint, timeout, curve) as node:
        pong = node.ping(wanted)
    if as_json:
        print_json(pong)
        return
    fields = [("round trip", seconds(pong.rtt)), ("its record's seq", pong.seq), ("sees us at", pong.address)]
    print_fields(fields)


def lookup(
    key: KeyText,
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Find the nodes nearest to a key, nearest first."""
    from codexdht.cli.output import print_json
    from codexdht.cli.targets import key_of

    wanted = key_of(key)
    with client(data_dir, endpoint, timeout, curve) as node:
        found = node.lookup(wanted)
    if as_json:
        print_json(found)
    elif found.nodes:
        _print_records(found.nodes)
    if not found.nodes:
        _not_found("no nodes found")


def table(
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Show the routing table."""
    from codexdht.cli.output import print_json, print_table, seconds

    with client(data_dir, endpoint, timeout, curve) as node:
        entries = node.table()
    if as_json:
        print_json(entries)
        return
    rows = [
        (
            entry.bucket,
            entry.record.peer_id,
            ", ".join(entry.record.addresses),
            seconds(entry.rtt),
            "–" if entry.reliability is None else f"{entry.reliability:.0%}",
            seconds(entry.last_seen),
        )
        for entry in entries
    ]
    print_table(
        ("bucket", "peer id", "addresses", "rtt", "reliable", "last seen"), rows, f"{len(rows)} nodes"
    )


def remove(
    peer_id: Annotated[str, typer.Argument(metavar="PEER_ID", help="16Uiu2HA…")],
    *,
    data_dir: DataDir = None,
    endpoint: Endpoint = None,
    curve: Curve = None,
    timeout: Timeout = 10.0,
    as_json: AsJson = False,
) -> None:
    """Forget a peer's provider records in this store."""
    from codexdht.cli.output import print_json, say
    from codexdht.identity import parse_peer_id

    parse_peer_id(peer_id)
    with client(data_dir, endpoint, timeout, curve) as node:
        removed = node.remove_providers_local(peer_id)
    if as_json:
        print_json({"removed": removed})
    else:
        say(f"{removed} record{'s' * (removed != 1)} removed")


def _print_record(record: Record) -> None:
    from codexdht.cli.output import print_fields

    addresses = [("address", address) for address in record.addresses]
    print_fields(
        [
            ("peer id", record.peer_id),
            ("node id", record.node_id.hex()),
            ("seq", record.seq),
            *addresses,
            ("record", record.uri),
        ]
    )


def _print_records(records: list[Record]) -> None:
    from codexdht.cli.output import print_table

    rows = [(record.peer_id, record.seq, ", ".join(record.addresses)) for record in records]
    print_table(("peer id", "seq", "addresses"), rows)


def _not_found(text: str) -> None:
    """End with the code for it, saying so on stderr."""
    typer.echo(f"codexdht: {text}", err=True)
    raise typer.Exit(FAILED)
