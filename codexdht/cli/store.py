"""Commands on a provider store on disk. `stats`, `verify` and `export` also work while a node uses it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from codexdht.cli import FAILED
from codexdht.cli.options import AsJson, DataDir, expanded, known_data_dir

if TYPE_CHECKING:
    from codexdht.store.settings import StoreSettings

_STORE_DIR: Final = "store"
Stream = TypeVar("Stream", bound=IO[Any])
StorePath = Annotated[
    Path | None, typer.Option("--store", help="Folder of the store. Default: store in the data directory.")
]
File = Annotated[
    Path | None, typer.Argument(help="One JSON line a record. Default: standard output or input.")
]


def stats(store: StorePath = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show what is in the store, and its size."""
    from codexdht.cli.output import print_fields, print_json
    from codexdht.store.tools import store_stats

    found = store_stats(_path(store, data_dir))
    if as_json:
        print_json(found)
    else:
        print_fields(
            (name.replace("_", " "), "–" if value is None else value) for name, value in found.items()
        )


def verify(store: StorePath = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check all records, signatures and indexes."""
    from codexdht.cli.output import print_json, say
    from codexdht.store.tools import verify

    with _progress("verifying") as progress:
        report = verify(_path(store, data_dir), progress)
    if as_json:
        print_json(report._asdict())
    else:
        say(f"{report.records} records of {report.providers} providers, {report.problem_count} problems")
        for problem in report.problems:
            say(f"  {problem}")
    if report.problem_count:
        raise typer.Exit(FAILED)


def export(file: File = None, store: StorePath = None, data_dir: DataDir = None) -> None:
    """Write every provider record as a line of JSON."""
    from codexdht.store.tools import export_records, store_stats

    path = _path(store, data_dir)
    total = store_stats(path)["records"]
    with _progress("exporting") as progress, file.open("w") if file else _unclosed(sys.stdout) as output:
        for number, record in enumerate(export_records(path), 1):
            output.write(json.dumps(record) + "\n")
            if number % 1000 == 0:
                progress(number, total)


def import_(
    file: File = None, store: StorePath = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Add exported records to a store that no node uses, by the rules and limits that are configured; with --store by
    the defaults. Code 1 if not one line could be read."""
    from codexdht.cli.output import print_json, say
    from codexdht.store.tools import import_records

    with (
        _progress("importing") as progress,
        file.open("rb") if file else _unclosed(sys.stdin.buffer) as lines,
    ):
        report = import_records(_path(store, data_dir), lines, time.time(), progress, _settings(store))
    if as_json:
        print_json(report._asdict())
    else:
        refused = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in report.refused.items())
        say(f"{report.taken} records taken" + (f"; not taken: {refused}" if refused else ""))
        for problem in report.problems:
            say(f"  {problem}")
    if report.problems and not report.taken and list(report.refused) == ["unreadable"]:
        raise typer.Exit(FAILED)


def compact(store: StorePath = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Rewrite a store that no node uses without its free pages."""
    from codexdht.cli.output import print_json, say
    from codexdht.store.tools import compact

    with _progress("compacting") as progress:
        before, after = compact(_path(store, data_dir), progress)
    if as_json:
        print_json({"before": before, "after": after})
    else:
        say(f"{before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")


def _path(store: Path | None, data_dir: Path | None) -> Path:
    return expanded(store) if store else known_data_dir(data_dir) / _STORE_DIR


def _settings(store: Path | None) -> StoreSettings | None:
    """Return the settings of the node that the store is of; None for one that is just a folder."""
    from codexdht.node import default_config

    return None if store else default_config().store


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr while a terminal is there; called with (done, total), total 0 for unknown."""
    from rich.console import Console
    from rich.progress import Progress

    from codexdht.store.scan import no_progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield no_progress
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def _unclosed(stream: Stream) -> Iterator[Stream]:
    """Use standard input or output like a file that is opened here, but leave it open."""
    yield stream
