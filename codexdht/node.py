"""A whole node as one object: its supervised processes, and calls to it.

`new_protocol` gives a `Node` that owns a supervisord with the four actors below it. The supervisord and all it runs
end with `close_wait`, and also when the process that made the node dies: the API actor watches for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from codexdht.client import Client
from codexdht.config import FILE_VARIABLE, PROCESSES_VARIABLE, Config, load_config
from codexdht.errors import CodexDhtError, NotRunning, RequestTimeout, StartupError

OWNER_VARIABLE: Final = "CODEXDHT_OWNER_PID"
PYTHON_VARIABLE: Final = "CODEXDHT_PYTHON"
SUPERVISOR_PID_FILE: Final = "supervisor.pid"
_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 10.0


def shipped_file(name: str) -> Path:
    """Return the path of `supervisord.conf` or `config/codexdht.toml`: beside the package in a checkout, else inside
    it."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent, package / "_share"):
        if (folder / name).is_file():
            return folder / name
    raise StartupError(f"{name} is not installed; reinstall codexdht")


def default_data_dir() -> Path:
    """Return where a node keeps its data unless told otherwise."""
    return load_config(_default_config(), _own_settings(os.environ)).data_dir


def _default_config() -> Path:
    here = Path("config/codexdht.toml")
    named = os.environ.get(FILE_VARIABLE)
    return Path(named) if named else here if here.is_file() else shipped_file("config/codexdht.toml")


def _own_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("CODEXDHT_")}


def node_environment(config: Path | None, overrides: Mapping[str, str]) -> tuple[dict[str, str], Config]:
    """Return the environment that a node's supervisord runs in, and the configuration that results from it.

    Raises ConfigError when that is wrong: better here than in four processes.
    """
    environ = dict(os.environ) | dict(overrides)
    environ[FILE_VARIABLE] = str((config or _default_config()).absolute())
    environ[PYTHON_VARIABLE] = sys.executable
    config_read = load_config(environ=environ)
    environ[PROCESSES_VARIABLE] = str(config_read.wire.processes)
    return environ, config_read


def supervisor_command(config: Config) -> list[str]:
    """Return the command line of a node's supervisord."""
    config.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        sys.executable,
        "-m",
        "supervisor.supervisord",
        "--configuration",
        str(shipped_file("supervisord.conf")),
        "--pidfile",
        str(config.run_dir / "supervisord.pid"),
    ]


def run_foreground(config: Path | None, overrides: Mapping[str, str]) -> int:
    """Run a node until it is stopped; returns supervisord's exit code. Raises ConfigError."""
    environ, loaded = node_environment(config, overrides)
    check_not_running(loaded)
    with subprocess.Popen(supervisor_command(loaded), env=environ) as supervisor:
        previous = {
            number: signal.signal(number, lambda number, _: supervisor.send_signal(number))
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        code = supervisor.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code


def check_not_running(config: Config) -> None:
    """Raise StartupError when a node runs on this data directory already."""
    if _is_running(config.run_dir):
        raise StartupError(f"a node runs on {config.data_dir} already; `codexdht down` stops it")


def _is_running(run_dir: Path) -> bool:
    """Tell whether any actor holds its lock; unlike a pid, a lock cannot be somebody else's."""
    return any(map(_is_locked, sorted(run_dir.glob("*.lock"))))


def _is_locked(path: Path) -> bool:
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def stop_node(data_dir: Path, timeout: float = _STOP_SECONDS) -> bool:
    """Stop the node on a data directory and wait until it is gone. False when none runs there, or it did not end."""
    run_dir = _run_dir(data_dir)
    pid_file = run_dir / SUPERVISOR_PID_FILE
    if not _is_running(run_dir) or not pid_file.is_file():
        return False
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    end = time.monotonic() + timeout
    while _is_running(run_dir):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def actor_pid(run_dir: Path, actor: str) -> int | None:
    """Return the process id of a running actor: wire, routing, store or api."""
    lock = run_dir / f"{actor}.lock"
    pid = lock.read_text() if lock.is_file() and _is_locked(lock) else ""
    return int(pid) if pid else None


def _run_dir(data_dir: Path) -> Path:
    configured = os.environ.get("CODEXDHT_NODE__RUN_DIR")
    return Path(configured) if configured else data_dir / "run"


class Node:
    """A node owned by this process. Made by `new_protocol`; also a context manager that ends with `close_wait`."""

    def __init__(self, environ: Mapping[str, str], config: Config) -> None:
        """Start the processes and wait until the API answers. Raises StartupError when it does not."""
        self.config = config
        check_not_running(config)
        log_file = config.data_dir / "supervisord.log"
        command = supervisor_command(config)
        with log_file.open("ab") as log:
            self._supervisor = subprocess.Popen(
                command,
                env=dict(environ) | {OWNER_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._log_file = log_file
        self.client = Client(f"ipc://{config.run_dir}/api.sock")
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._kill)
            self._wait_until_answering()
            cleanup.pop_all()

    @property
    def supervisor_pid(self) -> int:
        """The process id of the node's supervisord."""
        return self._supervisor.pid

    @property
    def exit_code(self) -> int | None:
        """What supervisord ended with, or None while it runs."""
        return self._supervisor.poll()

    def _wait_until_answering(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            try:
                self.client.stats(timeout=0.5)
            except (RequestTimeout, NotRunning):
                if self._supervisor.poll() is not None:
                    break
                continue
            return
        tail = self._log_file.read_text(errors="replace").strip().splitlines()[-1:]
        raise StartupError(f"the node does not answer; the last line of {self._log_file}: {' '.join(tail)}")

    def open(self) -> None:
        """Bind the UDP socket; the local record exists from then on."""
        self.client.open()

    def start(self) -> None:
        """Bootstrap and begin maintenance."""
        self.client.start()

    def close_wait(self) -> None:
        """Close the node and end its processes; returns when they are gone and their sockets with them."""
        if self._supervisor.poll() is None:
            with contextlib.suppress(CodexDhtError):  # the processes flush by themselves when they are ended
                self.client.close_wait(timeout=5.0)
        self._kill()

    def _kill(self) -> None:
        self.client.close()
        if self._supervisor.poll() is None:
            self._supervisor.terminate()
        try:
            self._supervisor.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._supervisor.pid, signal.SIGKILL)
            self._supervisor.wait()
        for pattern in ("*.sock", "*.inbox", "*.sockets", "*.lock", "*.pid"):
            for leftover in self.config.run_dir.glob(pattern):
                leftover.unlink()

    def update_record(self, *args: Any, **kwargs: Any) -> Any:
        """As `Client.update_record`."""
        return self.client.update_record(*args, **kwargs)

    def remove_providers_local(self, *args: Any, **kwargs: Any) -> Any:
        """As `Client.remove_providers_local`."""
        return self.client.remove_providers_local(*args, **kwargs)

    def add_provider(self, *args: Any, **kwargs: Any) -> Any:
        """As `Client.add_provider`."""
        return self.client.add_provider(*args, **kwargs)

    def get_providers(self, *args: Any, **kwargs: Any) -> Any:
        """As `Client.get_providers`."""
        return self.client.get_providers(*args, **kwargs)

    def resolve(self, *args: Any, **kwargs: Any) -> Any:
        """As `Client.resolve`."""
        return self.client.resolve(*args, **kwargs)

    def __enter__(self) -> Node:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_wait()


def new_protocol(
    private_key: bytes | str | None = None,
    listen: str | Sequence[str] = "/ip4/0.0.0.0/udp/8090",
    announce: str | Sequence[str] = "auto",
    bootstrap: Iterable[str] = (),
    config: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Node:
    """Return a node of this process's own: running, but neither open nor started.

    private_key: 32 bytes or their hex, written to the data directory; None takes the key there, or makes one. listen,
    announce: multiaddresses. bootstrap: `spr:…` texts. config: a TOML file, default the shipped one. data_dir:
    default as the file says. settings: any other keys, as `{"store.lifetime": 3600}`. Raises ConfigError and
    StartupError.
    """
    values: dict[str, object] = {
        "node.autostart": False,
        "network.listen": listen,
        "network.announce": announce,
        "network.bootstrap": list(bootstrap),
        **({"node.data_dir": Path(data_dir).absolute()} if data_dir is not None else {}),
        **(settings or {}),
    }
    overrides = {f"CODEXDHT_{key.replace('.', '__').upper()}": _text(value) for key, value in values.items()}
    if "log.directory" not in values:
        data = node_environment(Path(config) if config else None, overrides)[1].data_dir
        overrides["CODEXDHT_LOG__DIRECTORY"] = str(data / "logs")
    environ, loaded = node_environment(Path(config) if config else None, overrides)
    if private_key is not None:
        write_key(loaded.key_file, private_key)
    return Node(environ, loaded)


def _text(value: object) -> str:
    """Return a setting as it stands in the environment."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_key(path: Path, secret: bytes | str) -> None:
    """Put a given private key into a key file. Raises StartupError when another key is there, ValueError for a bad
    one."""
    from codexdht.actors.keyfile import read_key
    from codexdht.identity import PrivateKey

    key = PrivateKey(bytes.fromhex(secret) if isinstance(secret, str) else secret)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.secret.hex() + "\n")
    if read_key(path).public_key != key.public_key:
        raise StartupError(f"{path} holds another key already; remove it, or use another data directory")
