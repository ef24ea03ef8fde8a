"""Commands that ask a running node: what people read, what programs read, and exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from codexdht.cli.app import app, stores
from codexdht.identity import node_id_of_cid
from codexdht.messages import internal
from codexdht.messages.internal import Failed, Life
from codexdht.testing.scripted_node import OWN, PEERS, SILENT

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
Command = Callable[..., Any]
Serve = Callable[..., str]


def test_record(command: Command, node: str) -> None:
    """The record with all its fields; its URI alone; and as JSON."""
    ran = command("record", node)
    assert ran.code == 0
    assert all(
        text in ran.out for text in (OWN.peer_id, OWN.node_id.hex(), OWN.uri, "/ip4/127.0.0.1/udp/9000")
    )
    assert command("record", "--uri", node).out == OWN.uri + "\n"
    assert command("record", "--json", node).json == {
        "uri": OWN.uri,
        "peerId": OWN.peer_id,
        "nodeId": OWN.node_id.hex(),
        "seq": OWN.seq,
        "addresses": ["/ip4/127.0.0.1/udp/9000"],
    }


def test_no_provider_record(command: Command, node: str) -> None:
    """What is not there is code 1 and a line on stderr; JSON has null."""
    ran = command("record", "--kind", "provider", "--json", node)
    assert (ran.code, ran.json) == (1, None)
    assert ran.err == "codexdht: the node has no provider record\n"


def test_provide_find_withdraw(command: Command, node: str) -> None:
    """The main job."""
    assert command("provide", CID, node).out == "stored here, and 4 records sent to other nodes\n"
    assert command("provide", CID, "00" * 32, "--json", node).json == {
        "nodes": 8,
        "complete": True,
        "perKey": [4, 4],
    }
    found = command("find", CID, node)
    assert found.code == 0
    assert all(peer.peer_id in found.out for peer in PEERS)
    limited = command("find", CID, "--limit", 1, "--json", node).json
    assert [record["peerId"] for record in limited["providers"]] == [PEERS[0].peer_id]
    assert PEERS[0].peer_id in command("find", CID, "--local", node).out
    assert command("withdraw", CID, node) == (0, "1 key withdrawn\n", "")
    assert command("withdraw", CID, "--json", node).json == {"withdrawn": 1}


def test_nothing_found(command: Command, serve: Serve) -> None:
    """Nobody provides it: code 1, and nothing on stdout but JSON where it was asked for."""
    node = serve(script={internal.FindProviders: lambda _: {"providers": [], "complete": False}})
    assert command("find", CID, node) == (1, "", "codexdht: no providers found in this time\n")
    assert command("find", CID, "--json", node).json == {"providers": [], "complete": False}


@pytest.mark.parametrize("form", ["peer id", "node id", "record"])
def test_resolve(command: Command, node: str, form: str) -> None:
    """A node is named by its peer id, its node id, or an older record."""
    peer = PEERS[0]
    text = {"peer id": peer.peer_id, "node id": peer.node_id.hex(), "record": peer.uri}[form]
    assert peer.uri in command("resolve", text, node).out


def test_resolve_of_an_unknown_node(command: Command, node: str) -> None:
    """Nobody knows it: code 1."""
    assert command("resolve", "11" * 32, node).code == 1


def test_ping_lookup_table_remove(command: Command, node: str) -> None:
    """The other calls."""
    assert "12 ms" in command("ping", PEERS[0].uri, node).out
    assert command("ping", PEERS[0].peer_id, "--json", node).json["seq"] == 7
    assert PEERS[3].peer_id in command("lookup", CID, node).out
    table = command("table", node).out
    assert all(text in table for text in ("1 nodes", PEERS[0].peer_id, "90%", "12 ms"))
    assert command("remove", PEERS[0].peer_id, node).out == "2 records removed\n"


def test_status(command: Command, node: str) -> None:
    """The state of the node and all numbers."""
    ran = command("status", node)
    assert ran.out.splitlines()[0].split() == ["node", "started"]
    assert ["wire", "packets", "3"] in [line.split() for line in ran.out.splitlines()]
    assert command("status", "--json", node).json["actors"]["store"]["gauges"] == {"size": 1}


def test_every_command_has_json() -> None:
    """Those that do not are the three that have no result to print, or lines of JSON."""
    commands = [*app.registered_commands, *stores.registered_commands]
    without = [
        c.callback.__name__ for c in commands if "as_json" not in inspect.signature(c.callback).parameters
    ]
    assert without == ["up", "down", "export"]


def test_keys_are_checked_and_resolved_here(command: Command, serve: Serve) -> None:
    """What reaches the node is the id that the CID stands for."""
    seen: list[bytes] = []

    def find(message: Any) -> Any:
        seen.append(message.key)
        return {"providers": [PEERS[0].encoded], "complete": True}

    command("find", CID, serve(script={internal.FindProviders: find}))
    assert seen == [node_id_of_cid(CID)]


# Errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("find", "no-cid"),
        ("find", "0x1234"),
        ("provide", CID, "junk"),
        ("lookup", ""),
        ("ping", "spr:AAAA"),
        ("ping", "spr:"),
        ("resolve", "16Uiu2HAmNope"),
        ("remove", "junk"),
        ("find", CID, "--endpoint", "nonsense"),
        ("up", "--bootstrap", "spr:AAAA"),
    ],
)
def test_bad_input_is_one_line(command: Command, arguments: tuple[str, ...]) -> None:
    """A bad CID, record or endpoint is code 2 and one line, whether a node runs or not."""
    ran = command(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("codexdht: ")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [(), ("nope",), ("find",), ("find", CID, "--limit", "0"), ("find", CID, "-x")]
)
def test_bad_usage(command: Command, arguments: tuple[str, ...]) -> None:
    """Wrong usage is code 2, with a hint."""
    ran = command(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err


def test_no_node(command: Command, folder: Any) -> None:
    """Where no node runs: code 3 and one line."""
    ran = command("status", "--data-dir", folder, "--timeout", 0.1)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"codexdht: no node answers at ipc://{folder}/run/api.sock; `codexdht up` starts one\n"


def test_a_closed_node(command: Command, serve: Serve) -> None:
    """A node that is not open: code 3."""
    ran = command("find", CID, serve(life=Life.CLOSED))
    assert ran.code == 3
    assert "not open" in ran.err


def test_out_of_time(command: Command, serve: Serve) -> None:
    """A node that does not answer in time: code 4."""
    ran = command("lookup", CID, serve(script={internal.Lookup: lambda _: SILENT}), "--timeout", 0.1)
    assert ran.code == 4
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("why", ["the node does not answer", "no node with this id was found"])
def test_a_ping_without_an_answer(command: Command, serve: Serve, why: str) -> None:
    """Scripts need one code for it, why ever there is none: 4, as the help says."""
    node = serve(script={internal.PingNode: lambda _: Failed(0, "timeout", why)})
    assert command("ping", "11" * 32, node) == (4, "", f"codexdht: {why}\n")
    assert "Code 4 if it does not answer, or nobody knows it." in command("ping", "--help").out


def test_other_errors_of_the_node(command: Command, serve: Serve) -> None:
    """Anything else that fails: code 1."""
    node = serve(script={internal.PutProvider: lambda _: Failed(0, "storage_full", "no room\nat all")})
    assert command("provide", CID, node) == (1, "", "codexdht: no room at all\n")


def test_down_without_a_node(command: Command, folder: Any) -> None:
    """Nothing to stop: code 3."""
    ran = command("down", "--data-dir", folder)
    assert ran.code == 3
    assert str(folder) in ran.err
