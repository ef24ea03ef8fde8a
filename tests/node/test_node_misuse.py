"""`new_protocol` with odd settings, and nodes whose processes were ended by others."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from codexdht.actors.rundir import holders, locked
from codexdht.client import Client, NodeStats
from codexdht.errors import ConfigError, StartupError
from codexdht.node import Node, default_config, new_protocol, patience

LOOPBACK = "/ip4/127.0.0.1/udp/0"


@pytest.fixture
def nodes() -> Iterator[ExitStack]:
    """Nodes that end with the test."""
    with ExitStack() as stack:
        yield stack


def make(nodes: ExitStack, data_dir: Path | str, **options: Any) -> Node:
    node = new_protocol(listen=LOOPBACK, data_dir=data_dir, **options)
    nodes.callback(node.close_wait)
    return node


def test_a_run_directory_outside_the_data_directory(folder: Path, nodes: ExitStack) -> None:
    """As it is needed where the name of the data directory is long."""
    node = make(nodes, folder / ("x" * 100), settings={"node.run_dir": str(folder / "run")})
    node.open()
    assert node.client.record().addresses


def test_an_api_on_tcp_alone(folder: Path, nodes: ExitStack) -> None:
    """The node's own client goes there, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    node = make(nodes, folder, settings={"api.endpoints": [endpoint]})
    assert node.client.endpoint == endpoint
    node.open()


def test_an_api_that_its_owner_cannot_reach(folder: Path) -> None:
    """It is said before anything starts."""
    with pytest.raises(ConfigError, match=r"api\.endpoints: found .* expected one that is ipc"):
        new_protocol(listen=LOOPBACK, data_dir=folder, settings={"api.endpoints": ["tcp://0.0.0.0:9"]})


@pytest.mark.parametrize("key", [b"short", "zz" * 32, b"\0" * 32, 5])
def test_a_private_key_that_is_none(folder: Path, key: Any) -> None:
    """What is expected is said, and no file is written."""
    with pytest.raises(StartupError, match="private_key: expected 32 bytes"):
        new_protocol(key, LOOPBACK, data_dir=folder / "a")
    assert not (folder / "a" / "key").exists()


@pytest.mark.parametrize("name", ["file", "file/x"])
def test_a_data_directory_that_cannot_be(folder: Path, name: str) -> None:
    """One line, and which setting to change."""
    (folder / "file").write_text("")
    with pytest.raises(StartupError, match=r"cannot use data directory .*; set node\.data_dir"):
        new_protocol(listen=LOOPBACK, data_dir=folder / name)


@pytest.mark.parametrize("name", ["file", "file/x", "folder"])
def test_a_private_key_that_cannot_be_written(folder: Path, name: str) -> None:
    """One line, too, and nothing is left behind."""
    (folder / "file").write_text("")
    (folder / "folder" / "key").mkdir(parents=True)
    with pytest.raises(StartupError, match=r"key cannot be read or made: .*; set node\.key_file"):
        new_protocol("11" * 32, LOOPBACK, data_dir=folder / name)
    assert sorted(path.name for path in folder.rglob("*")) == ["file", "folder", "key"]


def test_paths_in_the_home_directory(folder: Path, nodes: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """~ is the home directory, as in the configuration, and no folder of that name."""
    monkeypatch.setenv("HOME", str(folder))
    network = f'[network]\nbootstrap = []\nlisten = ["{LOOPBACK}"]\n'
    (folder / "node.toml").write_text(f"{network}[store]\nlifetime = 5\n")
    node = make(nodes, "~/a", config="~/node.toml")
    assert node.config.data_dir == folder / "a"
    assert node.config.store.lifetime == 5
    monkeypatch.setenv("CODEXDHT_CONFIG", "~/node.toml")
    assert default_config().store.lifetime == 5


@pytest.mark.parametrize("path", ["data_dir", "config"])
def test_a_home_directory_that_is_not_there(path: str) -> None:
    """It is named in one line."""
    with pytest.raises(ConfigError, match="'~nobody-at-all/x': there is no such home directory"):
        new_protocol(listen=LOOPBACK, **{path: "~nobody-at-all/x"})


def test_closing_a_dead_node_leaves_its_successor_alone(folder: Path, nodes: ExitStack) -> None:
    """After its supervisord was killed another node may run on the data directory by the time it is closed."""
    dead = make(nodes, folder)
    os.kill(dead.supervisor_pid, signal.SIGKILL)
    os.waitid(os.P_PID, dead.supervisor_pid, os.WEXITED | os.WNOWAIT)
    successor = make(nodes, folder)
    dead.close_wait()
    assert len(holders(folder / "run")) == 4
    successor.open()
    assert successor.client.record().addresses


def test_closing_a_dead_node_waits_for_its_actors(folder: Path, nodes: ExitStack) -> None:
    """When it returns nobody holds the data directory any more."""
    node = make(nodes, folder)
    os.kill(node.supervisor_pid, signal.SIGKILL)
    node.close_wait()
    assert list((folder / "run").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["update_record", "remove_providers_local", "add_provider", "get_providers", "resolve"]
)
def test_a_nodes_calls_are_those_of_its_client(name: str) -> None:
    """Arguments and results have the types that they have there, and help says what it says there."""
    own, of_client = getattr(Node, name), getattr(Client, name)
    assert inspect.signature(own) == inspect.signature(of_client)
    assert own.__doc__ == of_client.__doc__


# Processes that do not come up ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"talk.handlers": {"x": "nosuch:f"}}, r"^wire: talk\.handlers: x = 'nosuch:f'"),
        ({"wire.processes": 2, "talk.handlers": {"x": "nosuch:f"}}, r"^wire(-1)?: talk\.handlers: x = "),
        ({"api.endpoints": ["ipc://{folder}/x.sock", "tcp://0.0.0.0:0"]}, r"^api: .*api\.curve_server_key"),
    ],
)
def test_a_process_that_cannot_start(folder: Path, settings: dict[str, Any], reason: str) -> None:
    """No node is returned of which a part has ended for good: the error is what that part has said, and nothing of
    the node stays."""
    if "api.endpoints" in settings:
        settings = {"api.endpoints": [text.format(folder=folder) for text in settings["api.endpoints"]]}
    with pytest.raises(StartupError, match=reason):
        new_protocol(listen=LOOPBACK, data_dir=folder, settings=settings)
    assert holders(folder / "run") == []


def test_a_node_that_opens_by_itself_on_a_taken_port(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wire answers for a moment before it ends: that does not make it a node that runs."""
    answers = iter([NodeStats("closed", {}, [], {})])
    ask = Client.stats
    monkeypatch.setattr(Client, "stats", lambda *args, **named: next(answers, None) or ask(*args, **named))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        listen = f"/ip4/127.0.0.1/udp/{other.getsockname()[1]}"
        with pytest.raises(StartupError, match=r"^wire: cannot bind .*; change network\.listen"):
            new_protocol(listen=listen, data_dir=folder, settings={"node.autostart": True})


def test_a_damaged_store(folder: Path, nodes: ExitStack) -> None:
    """It is said with what to do, and when that is done the node starts, whatever the log still says."""
    damaged = folder / "store" / "data.mdb"
    damaged.parent.mkdir()
    damaged.write_bytes(b"junk" * 3000)
    with pytest.raises(StartupError, match=r"^store: .*/data\.mdb is damaged .*; move it away"):
        new_protocol(listen=LOOPBACK, data_dir=folder)
    damaged.unlink()
    assert make(nodes, folder).client.stats().missing == []


@pytest.mark.parametrize("where", ["supervisord.log", "logs/api.log"])
def test_processes_that_end_without_a_reason(
    folder: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The error names who is missing, and shows the last line of the log that has one."""
    log = folder / where
    log.parent.mkdir(exist_ok=True)
    program = f"open({str(log)!r}, 'a').write('first\\nlast\\n')"
    monkeypatch.setattr("codexdht.node.supervisor_command", lambda _: [sys.executable, "-c", program])
    with pytest.raises(StartupError, match=rf"^api of the node did not start; .* {log}: last$"):
        new_protocol(listen=LOOPBACK, data_dir=folder)


def test_a_store_that_reads_its_whole_file_is_waited_for(folder: Path) -> None:
    """The check after crashes takes half a minute for a million records; one that is not there takes no time."""
    assert patience(["store"], folder) == patience(["api"], folder)
    with locked(folder, folder, "store"):
        assert patience(["store"], folder) > 300
        assert patience(["wire", "store"], folder) == patience(["api"], folder)
