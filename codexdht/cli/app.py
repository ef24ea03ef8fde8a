"""The commands under their names."""

from __future__ import annotations

from collections.abc import Callable

import typer

from codexdht.cli import dht, node, store

app = typer.Typer(
    help="A node of the Codex DHT, and questions to a running one.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
stores = typer.Typer(help="Look after a provider store on disk.", no_args_is_help=True, rich_markup_mode=None)

_COMMANDS: list[Callable[..., None]] = [
    node.up,
    node.down,
    node.status,
    node.keygen,
    dht.record,
    dht.provide,
    dht.withdraw,
    dht.find,
    dht.resolve,
    dht.ping,
    dht.lookup,
    dht.table,
    dht.remove,
]
for command in _COMMANDS:
    app.command()(command)
app.add_typer(stores, name="store")
stores.command("stats")(store.stats)
stores.command("verify")(store.verify)
stores.command("export")(store.export)
stores.command("import")(store.import_)
stores.command("compact")(store.compact)
