"""What keeps an actor from starting: one clear line, exit code 78, and no restart."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import zmq.auth

from codexdht.node import node_environment, shipped_file, supervisor_command


def environment(folder: Path, **settings: str) -> dict[str, str]:
    values = {
        "CODEXDHT_CONFIG": str(shipped_file("config/codexdht.toml")),
        "CODEXDHT_NODE__DATA_DIR": str(folder / "node"),
        "CODEXDHT_NETWORK__LISTEN": "/ip4/127.0.0.1/udp/0",
        **settings,
    }
    return {k: v for k, v in os.environ.items() if not k.startswith("CODEXDHT_")} | values


def run(actor: str, environ: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "codexdht.actors", actor],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done.returncode, done.stderr


def assert_refused(actor: str, environ: dict[str, str], *parts: str) -> None:
    code, text = run(actor, environ)
    last = text.strip().splitlines()[-1]
    assert code == 78, text
    assert "Traceback" not in text
    assert last.startswith(f"codexdht {actor}: ")
    for part in parts:
        assert part in last


@pytest.mark.parametrize("actor", ["wire", "routing", "store", "api"])
def test_a_wrong_value_is_named_with_file_key_found_and_expected(folder: Path, actor: str) -> None:
    """Every actor says the same of a bad configuration."""
    assert_refused(
        actor,
        environment(folder, CODEXDHT_LOG__LEVEL="loud"),
        "CODEXDHT_LOG__LEVEL: log.level: found 'loud'",
        "invalid enum value",
    )


def test_a_missing_bootstrap_list_is_an_error(folder: Path) -> None:
    """An empty list starts a network; none at all is a mistake."""
    config = folder / "node.toml"
    config.write_text('[network]\nlisten = ["/ip4/127.0.0.1/udp/0"]\n')
    assert_refused("wire", environment(folder, CODEXDHT_CONFIG=str(config)), "node.toml", "`bootstrap`")


def test_a_taken_port_is_said(folder: Path) -> None:
    """A node that is to start by itself and cannot bind ends with the address and the way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        environ = environment(folder, CODEXDHT_NETWORK__LISTEN=f"/ip4/127.0.0.1/udp/{port}")
        command = supervisor_command(node_environment(None, environ)[1])
        with subprocess.Popen(
            command, env=environ | {"CODEXDHT_PYTHON": sys.executable}, stderr=subprocess.PIPE
        ) as node:
            for line in node.stderr:
                if b"cannot bind" in line:
                    break
            assert (
                f"udp 127.0.0.1 port {port}: Address already in use; change network.listen".encode() in line
            )
            node.terminate()


def test_another_number_of_wire_processes_than_supervisord_runs_is_said(folder: Path) -> None:
    """supervisord does not read the configuration file: a number there that it was not told is refused."""
    config = folder / "node.toml"
    config.write_text("[network]\nbootstrap = []\n[wire]\nprocesses = 2\n")
    environ = environment(folder, CODEXDHT_CONFIG=str(config), SUPERVISOR_ENABLED="1")
    assert_refused(
        "wire", environ, "wire.processes: found 2, but supervisord runs 1", "CODEXDHT_WIRE__PROCESSES=2"
    )


def test_an_unreadable_key_is_said(folder: Path) -> None:
    """The wire does not make a new key in place of one that does not hold."""
    key = folder / "key"
    key.write_text("not a key")
    assert_refused(
        "wire", environment(folder, CODEXDHT_NODE__KEY_FILE=str(key)), str(key), "64 hexadecimal digits"
    )


def test_a_data_directory_in_use_is_said(folder: Path) -> None:
    """The second actor of a kind names the directory and the process that holds it."""
    environ = environment(folder)
    with subprocess.Popen(
        [sys.executable, "-m", "codexdht.actors", "store"], env=environ, stderr=subprocess.PIPE
    ) as first:
        assert b"started" in first.stderr.readline()
        assert_refused("store", environ, "is in use by another node", f"pid {first.pid}")
        first.terminate()
    assert first.returncode == 0


def test_a_damaged_store_is_said_after_three_crashes(folder: Path) -> None:
    """Not at once, because the check takes long; then with what is wrong and what to do, and without a restart."""
    environ = environment(folder)
    with subprocess.Popen(
        [sys.executable, "-m", "codexdht.actors", "store"], env=environ, stderr=subprocess.PIPE
    ) as store:
        assert b"started" in store.stderr.readline()
        store.terminate()
    data = folder / "node" / "store" / "data.mdb"
    whole = data.read_bytes()
    (data.parent / "owner.lock").write_bytes(b"xxx")
    data.write_bytes(whole[: 2 * 4096] + b"".join(b"\x5a" * 16 + page for page in _pages(whole[2 * 4096 :])))
    assert_refused("store", environ, "data.mdb is damaged", "move it away")


def _pages(pages: bytes) -> list[bytes]:
    """Return pages without their heads."""
    return [pages[start + 16 : start + 4096] for start in range(0, len(pages), 4096)]


def test_a_run_directory_too_long_for_sockets_is_said(folder: Path) -> None:
    """ZeroMQ's own message would not say which setting to change."""
    assert_refused(
        "api", environment(folder, CODEXDHT_NODE__DATA_DIR=str(folder / ("x" * 120))), "set node.run_dir"
    )


@pytest.mark.parametrize("name", ["file", "file/logs"])
def test_a_log_that_cannot_be_written_is_said(folder: Path, name: str) -> None:
    """There is no log to say it in."""
    (folder / "file").write_text("")
    environ = environment(folder, CODEXDHT_LOG__DIRECTORY=str(folder / name))
    assert_refused("store", environ, "log.directory: cannot write in", str(folder / name))


@pytest.mark.parametrize("name", ["nosuch:f", "os:nosuch", "os:name", "", "this is:no module"])
def test_a_talk_handler_that_cannot_be_loaded_is_said(folder: Path, name: str) -> None:
    """Whatever its import raises."""
    environ = environment(folder, CODEXDHT_TALK__HANDLERS=f'{{x = "{name}"}}')
    assert_refused("wire", environ, f"talk.handlers: x = {name!r}", "expected module:function")


def test_an_open_endpoint_without_keys_is_refused(folder: Path) -> None:
    """A tcp endpoint that others can reach needs CURVE."""
    assert_refused(
        "api", environment(folder, CODEXDHT_API__ENDPOINTS="tcp://0.0.0.0:0"), "api.curve_server_key"
    )


def test_keys_of_clients_that_do_not_hold_are_said(folder: Path) -> None:
    """For one bad file ZeroMQ would refuse every client; and no folder at all is not the working directory."""
    public, secret = zmq.auth.create_certificates(folder, "node")
    environ = environment(folder, CODEXDHT_API__CURVE_SERVER_KEY=secret)
    assert_refused("api", environ, "api.curve_clients: expected the folder")
    clients = folder / "clients"
    clients.mkdir()
    environ["CODEXDHT_API__CURVE_CLIENTS"] = str(clients)
    assert_refused("api", environ, f"api.curve_clients: {clients} holds no public key")
    shutil.copy(public, clients)
    (clients / "other.key").write_text("junk")
    assert_refused("api", environ, f"api.curve_clients: {clients / 'other.key'} is not a CURVE key file")


def test_supervisord_does_not_restart_on_a_configuration_error(folder: Path) -> None:
    """Each actor is started once, and once only."""
    environ = environment(folder, CODEXDHT_LOG__LEVEL="loud", CODEXDHT_PYTHON=sys.executable)
    good = environment(folder)
    command = supervisor_command(node_environment(None, good)[1])
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as supervisor:
        seen = [supervisor.stderr.readline() for _ in range(4)]
        assert all(b"log.level: found 'loud'" in line for line in seen)
        process = psutil.Process(supervisor.pid)
        _, alive = psutil.wait_procs(process.children(), timeout=5)
        assert alive == []
        os.set_blocking(supervisor.stderr.fileno(), False)
        with pytest.raises(subprocess.TimeoutExpired):
            supervisor.wait(2)  # two turns of supervisord, in which it would have started them again
        assert process.children() == []
        assert supervisor.stderr.read() in (b"", None)
        supervisor.terminate()


@pytest.mark.parametrize("python", ["none", "."])
def test_supervisord_does_not_restart_what_cannot_be_run(folder: Path, python: str) -> None:
    """A Python that is not there, or is no program, is named by each actor once, with the way out, and that is all."""
    environ = environment(folder, CODEXDHT_PYTHON=str(folder / python))
    command = supervisor_command(node_environment(None, environment(folder))[1])
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as supervisor:
        seen = [supervisor.stderr.readline().decode() for _ in range(4)]
        assert all(str(folder / python) in line for line in seen)
        assert python == "." or all("set CODEXDHT_PYTHON" in line for line in seen)
        _, alive = psutil.wait_procs(psutil.Process(supervisor.pid).children(), timeout=5)
        os.set_blocking(supervisor.stderr.fileno(), False)
        supervisor.stderr.read()
        with pytest.raises(subprocess.TimeoutExpired):
            supervisor.wait(1.2)  # a turn of supervisord, in which it would have started them again
        assert alive == []
        assert supervisor.stderr.read() in (b"", None)
        supervisor.terminate()


def test_the_file_runs_wherever_it_is_copied(folder: Path) -> None:
    """As in an installed package, with no .venv beside it: actors run under supervisord's Python."""
    shutil.copy(shipped_file("supervisord.conf"), folder)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(folder / "supervisord.conf")]
    environ = environment(folder, CODEXDHT_LOG__LEVEL="loud")
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as supervisor:
        seen = [supervisor.stderr.readline() for _ in range(4)]
        supervisor.terminate()
    assert all(b"log.level: found 'loud'" in line for line in seen)


def test_the_file_is_read_under_any_locale(folder: Path) -> None:
    """supervisord reads it in the encoding of its environment."""
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environ = environment(folder, CODEXDHT_LOG__LEVEL="loud", **locale)
    command = supervisor_command(node_environment(None, environment(folder))[1])
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as supervisor:
        seen = supervisor.stderr.readline()
        supervisor.terminate()
    assert b"log.level: found 'loud'" in seen


def test_supervisord_writes_to_a_socket(folder: Path) -> None:
    """Standard error may be one, as under systemd: the actors start, and what they say is there."""
    environ = environment(folder, CODEXDHT_LOG__LEVEL="loud", CODEXDHT_PYTHON=sys.executable)
    command = supervisor_command(node_environment(None, environment(folder))[1])
    journal, stderr = socket.socketpair()
    journal.settimeout(20)
    with (
        journal,
        journal.makefile("rb") as lines,
        subprocess.Popen(command, env=environ, stderr=stderr) as node,
    ):
        stderr.close()
        try:
            assert all(b"log.level: found 'loud'" in lines.readline() for _ in range(4))
        finally:
            node.terminate()


def test_supervisord_writes_nothing_where_it_is_started(folder: Path) -> None:
    """Nodes that are started in one folder do not overwrite or remove each other's files."""
    environ = environment(folder, CODEXDHT_LOG__LEVEL="loud", CODEXDHT_PYTHON=sys.executable)
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(shipped_file("supervisord.conf"))]
    with subprocess.Popen(command, env=environ, cwd=folder, stderr=subprocess.PIPE) as supervisor:
        line, files = supervisor.stderr.readline(), list(folder.iterdir())
        supervisor.terminate()
    assert b"found 'loud'" in line
    assert (files, supervisor.returncode) == ([], 0)
