"""A benchmark that cannot measure something says so, goes on with the next thing, and ends with an exit code."""

from __future__ import annotations

import subprocess
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from benchmarks import __main__ as program
from benchmarks import load, profile, whole
from benchmarks.load import LoadTable
from benchmarks.rows import RowError
from benchmarks.store import Store, fill, records
from codexdht.errors import CodexDhtError, StartupError
from codexdht.store.settings import StoreSettings


def test_a_load_process_that_dies_ends_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for what it would have measured."""
    monkeypatch.setattr(whole, "_slow_clients", dies)
    monkeypatch.setattr(whole, "_fast_clients", dies)
    node: Any = SimpleNamespace(client=SimpleNamespace(endpoint="ipc:///none"))
    with pytest.raises(RowError, match="a load process has died"):
        whole._mixed_round(node)


def dies(result: Connection, endpoint: str) -> None:
    """End without a word."""


def test_the_reason_of_a_load_process_is_the_rows() -> None:
    """What the node answered it, or that there was none."""

    async def fails() -> list[float]:
        raise CodexDhtError("no node there")

    ours, theirs = Pipe()
    whole._send(theirs, fails())
    with pytest.raises(RowError, match="CodexDhtError: no node there"):
        whole._received(ours)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("limit", [1_000, 500])
def test_announcements_that_are_refused_are_not_called_stored(folder: Path, limit: int) -> None:
    """A store that takes half of them fails the measurement."""
    store = Store(folder / "store", StoreSettings(max_records=limit))
    try:
        if limit == 1_000:
            assert fill(store, records(10), 0, 1_000)["rate_per_s"] > 0
        else:
            with pytest.raises(AssertionError, match="500 of 1000 announcements were refused"):
                fill(store, records(10), 0, 1_000)
    finally:
        store.stop()


def test_an_actor_that_does_not_come_back_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row fails, and is not reported as a restart that took long."""
    monkeypatch.setattr(whole, "node_processes", lambda _: {"wire": 0})
    monkeypatch.setattr(whole, "os", SimpleNamespace(kill=lambda *_: None))
    monkeypatch.setattr(whole, "_RESTART_SECONDS", 0.01)

    def serve() -> None:
        raise OSError("nobody")

    node: Any = SimpleNamespace(supervisor_pid=1)
    with pytest.raises(RowError, match="wire did not come back"):
        whole._restart(node, "wire", serve)


@pytest.mark.parametrize(
    ("group", "rows", "code"),
    [
        ("whole", {"start": {"median_s": 0.5}}, 0),
        ("whole", {"start": {"median_s": 0.5}, "memory": {"error": "gone"}}, 1),
        ("peers", {"rows": {"codexdht": {"not found": 0}}}, 0),
        ("peers", {"rows": {"codexdht": {"not found": 1}}}, 1),
        ("peers", {"rows": {"kademlia": {"error": "cannot install"}}}, 1),
    ],
)
def test_a_failed_row_is_an_exit_code(
    group: str, rows: dict[str, Any], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every group; a key that was not found is a failure, too."""
    monkeypatch.setattr(program, f"measure_{group}", lambda _: rows)
    monkeypatch.setattr(program, f"write_{group}", lambda _: "")
    assert program.main([group]) == code


def test_a_node_that_does_not_start_fails_its_group_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row of the start has the reason; a group that needs the node says it, and the next group is run."""

    def fails(**_: object) -> None:
        raise StartupError("wire of the node did not start")

    monkeypatch.setattr(whole, "new_protocol", fails)
    monkeypatch.setattr(whole, "running_node", fails)
    monkeypatch.setattr(program, "run_peers", lambda: program.say("peers ran") or 0)
    assert program.main(["whole", "peers"]) == 1
    said = capsys.readouterr().out
    assert "start: {'error': 'StartupError: wire of the node did not start'}" in said
    assert "whole: could not run: wire of the node did not start" in said
    assert "peers ran" in said


def test_a_profile_without_a_node_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and an exit code."""

    def fails(*_: object) -> None:
        raise StartupError("wire of the node did not start")

    monkeypatch.setattr(profile, "record", fails)
    monkeypatch.setattr(profile.shutil, "which", lambda *_, **__: "py-spy")
    assert profile.main(["ping"]) == 1
    assert capsys.readouterr().err == "wire of the node did not start\n"


def test_all_of_make_bench_runs_whatever_fails(folder: Path) -> None:
    """Each table is measured, and the exit code tells that one has failed."""
    python = folder / "python"
    python.write_text('#!/bin/sh\necho "ran $*"\ncase "$*" in *peers) exit 1;; esac\n')
    python.chmod(0o700)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["make", "-o", "setup", "bench", f"BIN={folder}"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "ran -m benchmarks.store --records" in done.stdout


class Generators:
    """Stands in for the load generator: one is made, fails as told, and the next works."""

    def __init__(self, error: Exception) -> None:
        self.errors = [error]
        self.made = 0
        self.pids: list[dict[str, int]] = []

    def __call__(self, node: Any) -> Self:
        self.made += 1
        return self

    def run(self, order: Any, pids: dict[str, int]) -> load.Cost:
        self.pids.append(pids)
        if self.errors:
            raise self.errors.pop()
        return load.Cost(load.Round(10, 10, 1.0, 0.5, 0.1, 0.2), {"wire": 0.5})

    def close(self) -> None:
        """End."""


@pytest.mark.parametrize(
    "error", [FileNotFoundError("/proc/1"), CodexDhtError("no answer"), RowError("none")]
)
def test_a_row_that_fails_does_not_take_the_table_with_it(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one has a new generator, and the node's processes as they are then."""
    generators = Generators(error)
    numbers = iter(range(9))
    monkeypatch.setattr(load, "Generator", generators)
    monkeypatch.setattr(load, "node_processes", lambda _: {"wire": next(numbers)})
    monkeypatch.setattr(load, "measure_e", lambda rounds: 5e-6)
    node: Any = SimpleNamespace(supervisor_pid=1)
    with LoadTable(node, 1, lambda _: None) as table:
        assert table.measure("ping")["error"] == str(error)
        assert table.measure("ping")["lost"] == 0
    assert generators.made == 2
    assert [pids["wire"] for pids in generators.pids[:2]] == [0, 1]


@pytest.mark.parametrize("rounds", ["0", "-1", "x"])
def test_no_rounds_are_refused(rounds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A median needs one at least."""
    with pytest.raises(SystemExit):
        program.main(["ping", "--rounds", rounds])
    assert "--rounds" in capsys.readouterr().err
