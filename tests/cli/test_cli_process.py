"""The command line as a process: start-up, pipes, keys, and what `up` hands on."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codexdht.cli import main
from codexdht.messages import internal
from codexdht.testing.scripted_node import PEERS, SILENT

CID = "zDvZRwzm9AurSxw3hkfqX7eSpopgt5uHxGfGuWSJpEXHbxf3DKDi"
PROGRAM = [sys.executable, "-m", "codexdht.cli"]
Command = Callable[..., Any]


def test_help_imports_little() -> None:
    """`--help` names every command and loads neither the node, nor ZeroMQ, nor tables."""
    code = (
        "import sys; from codexdht.cli import main; assert main(['--help']) == 0;"
        "heavy = ('zmq', 'rich.table', 'codexdht.node', 'codexdht.client', 'coincurve', 'lmdb');"
        "print([module for module in heavy if module in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    for name in (
        "up",
        "down",
        "status",
        "record",
        "keygen",
        "provide",
        "find",
        "resolve",
        "ping",
        "lookup",
        "table",
        "store",
    ):
        assert f"  {name} " in out


def test_a_reader_that_leaves(node: str) -> None:
    """`codexdht table | head -0` ends without a traceback."""
    with subprocess.Popen(
        [*PROGRAM, "find", CID, node, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(node: str, folder: Path, closed: str) -> None:
    """Whoever closes the output does not want it; that is no error, and no file takes its place."""
    command = f"{' '.join(PROGRAM)} table {node} {closed}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30)
    assert (ran.returncode, ran.stderr) == (0, "")
    ran = subprocess.run(
        ["sh", "-c", f"{' '.join(PROGRAM)} store import --store={folder}/s <&-"],
        capture_output=True,
        timeout=30,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"0 records taken\n", b"")


def test_a_full_disk(node: str) -> None:
    """Output that could not be written is an error of one line."""
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run([*PROGRAM, "record", node], stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1
    assert ran.stderr == "codexdht: cannot read or write: No space left on device\n"


def test_a_terminal_without_dashes(node: str) -> None:
    """Characters that a terminal lacks are written as escapes."""
    environ = os.environ | {"PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([*PROGRAM, "table", node], capture_output=True, text=True, env=environ)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "bucket" in ran.stdout


def test_ctrl_c(serve: Callable[..., str]) -> None:
    """An interrupted command ends with 130 and no traceback."""
    asked = threading.Event()

    def be_silent(_: Any) -> object:
        asked.set()
        return SILENT

    node = serve(script={internal.Lookup: be_silent})
    with subprocess.Popen(
        [*PROGRAM, "lookup", CID, node], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert asked.wait(20)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_ctrl_c_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line itself takes a moment to load."""

    class Interrupted:
        def __getattr__(self, _: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "codexdht.cli.app", Interrupted())
    assert main(["status"]) == 130


def test_output_to_a_file_is_not_cut(node: str) -> None:
    """A table that goes into a pipe is as wide as it needs."""
    out = subprocess.run(
        [*PROGRAM, "find", CID, node],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "20"},
    ).stdout
    assert all(any(peer.peer_id in line and "/udp/" in line for line in out.splitlines()) for peer in PEERS)


def test_keygen(command: Command, folder: Path) -> None:
    """A key is made once, readable by its owner alone, and never overwritten."""
    made = command("keygen", folder / "sub" / "key", "--json")
    assert made.code == 0
    file = folder / "sub" / "key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(bytes.fromhex(file.read_text())) == 32
    assert made.json["peerId"].startswith("16Uiu2HA")
    secret = file.read_text()
    again = command("keygen", file)
    assert again.code == 1
    assert "exists already" in again.err
    assert file.read_text() == secret


def test_a_folder_that_cannot_be_written(command: Command, folder: Path) -> None:
    """An error of the file system is one line."""
    (folder / "file").write_text("")
    ran = command("keygen", folder / "file" / "key")
    assert ran.code == 1
    assert ran.err.count("\n") == 1


def test_up_hands_its_options_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options become the environment that the node's processes read; the exit code is the node's."""
    given: list[Any] = []

    def run_foreground(config: Path | None, overrides: dict[str, str]) -> int:
        given.append((config, overrides))
        return 78

    monkeypatch.setattr("codexdht.node.run_foreground", run_foreground)
    ran = command(
        "up", "--config", "x.toml", "--data-dir", "/d", "--listen", "/ip4/0.0.0.0/udp/1", "--listen", "/ip6/::/udp/1",
        "--announce", "auto", "--bootstrap", PEERS[0].uri,
    )  # fmt: skip
    assert ran.code == 78
    assert given == [
        (
            Path("x.toml"),
            {
                "CODEXDHT_NODE__DATA_DIR": "/d",
                "CODEXDHT_NETWORK__LISTEN": "/ip4/0.0.0.0/udp/1,/ip6/::/udp/1",
                "CODEXDHT_NETWORK__ANNOUNCE": "auto",
                "CODEXDHT_NETWORK__BOOTSTRAP": PEERS[0].uri,
            },
        )
    ]


def test_up_with_a_bad_configuration(command: Command, folder: Path) -> None:
    """A configuration error is code 78 and one line."""
    bad = folder / "bad.toml"
    bad.write_text("[store]\nlifetime = 'long'\n")
    ran = command("up", "--config", bad)
    assert ran.code == 78
    assert ran.err.count("\n") == 1


def test_store_commands(command: Command, folder: Path) -> None:
    """Export, import, stats, verify and compact work on a store without a node."""
    lines = folder / "records.jsonl"
    key = "11" * 32
    record = {"key": key, "spr": PEERS[0].uri, "expires": 4_000_000_000, "source": ""}
    lines.write_text(json.dumps(record) + "\nnot json\n")
    store = f"--store={folder / 'store'}"
    ran = command("store", "import", lines, store)
    assert ran.code == 0
    assert "1 records taken" in ran.out
    assert "line 2" in ran.out
    assert command("store", "stats", store, "--json").json["records"] == 1
    assert command("store", "verify", store, "--json").json["problem_count"] == 0
    exported = command("store", "export", store).out
    assert json.loads(exported)["key"] == key
    assert command("store", "export", folder / "out.jsonl", store).code == 0
    assert (folder / "out.jsonl").read_text() == exported
    assert command("store", "compact", store).code == 0
    assert "records" in command("store", "stats", store).out


def test_import_obeys_the_configuration(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store in the data directory gets what its node would keep, and for as long; one named by itself the default."""
    lines = folder / "records.jsonl"
    expires = int(time.time()) + 10 * 86_400
    records = [{"key": f"{n:02}" * 32, "spr": PEERS[0].uri, "expires": expires} for n in (11, 22, 33)]
    lines.write_text("\n".join(map(json.dumps, records)))
    monkeypatch.setenv("CODEXDHT_STORE__LIFETIME", str(30 * 86_400))
    monkeypatch.setenv("CODEXDHT_STORE__MAX_RECORDS", "2")
    for options in ([], [f"--data-dir={folder}/other"]):
        monkeypatch.setenv("CODEXDHT_NODE__DATA_DIR", str(folder / "data"))
        ran = command("store", "import", lines, *options)
        assert ran.out == "2 records taken; not taken: 1 refused records full\n"
        assert json.loads(command("store", "export", *options).out.splitlines()[0])["expires"] == expires
    ran = command("store", "import", lines, f"--store={folder}/s")
    assert ran.out == "3 records taken\n"


@pytest.mark.parametrize(
    "junk",
    [b"\xff\xfe\n", b"\0" * 100, b"[" * 100_000, b'{"key":' + b"[" * 100_000, b'{"key":"\\ud800"}', b"\n"],
)
def test_import_of_junk(command: Command, folder: Path, junk: bytes) -> None:
    """Bytes that are no text or no record are one line each, and do not hinder what follows."""
    lines = folder / "records.jsonl"
    store = f"--store={folder / 'store'}"
    lines.write_bytes(junk)
    ran = command("store", "import", lines, store)
    assert (ran.code, ran.err) == (1, "")
    assert len(ran.out.splitlines()) == 2
    assert "  line 1: " in ran.out
    good = {"key": "11" * 32, "spr": PEERS[0].uri, "expires": 4_000_000_000}
    lines.write_bytes(junk.rstrip(b"\n") + b"\n" + json.dumps(good).encode())
    ran = command("store", "import", lines, store)
    assert ran.code == 0
    assert ran.out.startswith("1 records taken; not taken: 1 unreadable\n")


@pytest.mark.parametrize("option", ["--data-dir", "--endpoint"])
@pytest.mark.parametrize("value", ["ipc:///\udcff", "~nobody-at-all/x"])
def test_paths_that_cannot_be(command: Command, option: str, value: str) -> None:
    """Bytes that are no UTF-8, and the home of a user who is not there: wrong input, in one line."""
    ran = command("status", option, value)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1


def test_where_commands_look_for_the_node(
    command: Command, node: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without options it is where the configuration says: its run directory, or the first endpoint without keys."""
    config = folder / "node.toml"
    monkeypatch.setenv("CODEXDHT_CONFIG", str(config))
    head = f'[node]\ndata_dir = "{folder}/other"\n'
    network = '[network]\nbootstrap = []\nlisten = ["/ip4/0.0.0.0/udp/1"]\n'
    config.write_text(f'{head}run_dir = "{folder}/run"\n{network}')
    assert command("record").code == 0
    config.write_text(
        f'{head}{network}[api]\nendpoints = ["tcp://0.0.0.0:9", "ipc://{folder}/run/api.sock"]\n'
    )
    assert command("record").code == 0
    config.write_text(f'{head}{network}[api]\nendpoints = ["tcp://0.0.0.0:9"]\n')
    assert command("record").code == 2


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("key", ["node.run_dir", "api.endpoints"])
@pytest.mark.parametrize("in_file", [True, False])
def test_another_data_directory_changes_nothing_else(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, in_file: bool
) -> None:
    """With --data-dir commands look where `up` with the same option puts the node: other settings still hold."""
    monkeypatch.chdir(folder)
    other, run_dir = folder / "other", folder / "run"
    value = str(run_dir) if key == "node.run_dir" else f"ipc://{run_dir}/api.sock"
    if in_file:
        text = f'network = {{bootstrap = [], listen = ["/ip4/0.0.0.0/udp/1"]}}\n{key} = '
        (folder / "config").mkdir()
        (folder / "config" / "codexdht.toml").write_text(
            text + json.dumps([value] if "api" in key else value)
        )
    else:
        monkeypatch.setenv(f"CODEXDHT_{key.replace('.', '__').upper()}", value)
    assert command("record", "--data-dir", other).code == 0
    assert command("record").code == 0
    ended = run_dir if key == "node.run_dir" else other / "run"
    assert command("down", "--data-dir", other).err == f"codexdht: no node runs in {ended}\n"


@pytest.mark.parametrize("name", ["stats", "verify", "export", "compact"])
def test_no_store(command: Command, folder: Path, name: str) -> None:
    """A store that is not there: code 1 and one line."""
    ran = command("store", name, f"--store={folder / 'none'}")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
