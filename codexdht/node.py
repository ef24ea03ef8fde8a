"""A whole node as one object: its supervised processes, and calls to it.

`new_protocol` gives a `Node` that owns a supervisord with the four actors below it. The supervisord and all it runs
end with `close_wait`, and also when the process that made the node dies: the API actor watches for that.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, TypeVar

from codexdht.actors.rundir import DYING_SECONDS, holders, lock_holder, make_run_dir
from codexdht.api.settings import is_loopback
from codexdht.client import Client
from codexdht.client.protocol import SOCKET_NAME, Record
from codexdht.config import FILE_VARIABLE, PROCESSES_VARIABLE, Config, load_config
from codexdht.errors import CodexDhtError, ConfigError, NotRunning, RequestTimeout, StartupError
from codexdht.forwarding import Forwarding
from codexdht.paths import expanded

OWNER_VARIABLE: Final = "CODEXDHT_OWNER_PID"
PYTHON_VARIABLE: Final = "CODEXDHT_PYTHON"
_START_SECONDS: Final = 15.0
_CHECK_SECONDS: Final = 320.0
"""For a store that reads its whole file first, as it does after crashes: for 300 s at most."""
_STOP_SECONDS: Final = 10.0
_PAUSE: Final = 0.02
Bootstrap = str | Record | Iterable[str | Record]
"""Records, or their `spr:…` texts; one of them may stand alone."""
P = ParamSpec("P")
T = TypeVar("T")


def shipped_file(name: str) -> Path:
    """Return the path of `supervisord.conf` or `config/codexdht.toml`: beside the package in a checkout, else inside
    it."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent, package / "_share"):
        if (folder / name).is_file():
            return folder / name
    raise StartupError(f"{name} is not installed; reinstall codexdht")


def default_config(data_dir: Path | None = None) -> Config:
    """Return the configuration of a node that is told nothing else, or its data directory alone. Raises ConfigError."""
    told = {} if data_dir is None else {"CODEXDHT_NODE__DATA_DIR": str(data_dir.absolute())}
    return load_config(_default_config(), _own_settings(os.environ) | told, verify=False)


def local_endpoint(config: Config) -> str | None:
    """Return where a client on this machine, which has no keys, reaches the node; None where it cannot."""
    for endpoint in config.api.endpoints or [f"ipc://{config.run_dir}/{SOCKET_NAME}"]:
        if endpoint.startswith("ipc://") or (is_loopback(endpoint) and not config.api.curve_server_key):
            return endpoint
    return None


def _default_config() -> Path:
    here = Path("config/codexdht.toml")
    named = os.environ.get(FILE_VARIABLE)
    if named:
        return expanded(named, ConfigError)
    return here if here.is_file() else shipped_file("config/codexdht.toml")


def _own_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith("CODEXDHT_")}


def node_environment(config: Path | None, overrides: Mapping[str, str]) -> tuple[dict[str, str], Config]:
    """Return the environment that a node's supervisord runs in, and the configuration that results from it.

    Raises ConfigError when that is wrong: better here than in four processes.
    """
    environ = dict(os.environ) | dict(overrides)
    environ[FILE_VARIABLE] = str((expanded(config, ConfigError) if config else _default_config()).absolute())
    environ[PYTHON_VARIABLE] = sys.executable
    config_read = load_config(environ=environ)
    environ[PROCESSES_VARIABLE] = str(config_read.wire.processes)
    return environ, config_read


def supervisor_command(config: Config) -> list[str]:
    """Return the command line of a node's supervisord, and make its run directory. Raises StartupError."""
    make_run_dir(config.run_dir)
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
    """Run a node until it is stopped; returns supervisord's exit code. Raises ConfigError and StartupError."""
    environ, loaded = node_environment(config, overrides)
    check_not_running(loaded)
    make_data_dir(loaded.data_dir)
    command = supervisor_command(loaded)
    with Forwarding() as signals, subprocess.Popen(command, env=environ) as supervisor:
        signals.send_to(supervisor)
        code = supervisor.wait()
    if code < 0 and not signals.received:
        raise CodexDhtError(f"supervisord was ended by {signal.Signals(-code).name}; the node ends with it")
    return max(code, 0)


def check_not_running(config: Config) -> None:
    """Raise StartupError when a node runs on this data directory already. One whose supervisord was killed is about to
    end, and is waited for."""
    end = time.monotonic() + DYING_SECONDS
    while held := holders(config.run_dir):
        if time.monotonic() > end or not all(holder.is_dying() for holder in held):
            raise StartupError(f"a node runs on {config.data_dir} already; `codexdht down` stops it")
        time.sleep(_PAUSE)


def stop_node(run_dir: Path, timeout: float = _STOP_SECONDS) -> None:
    """Stop the node with a run directory and wait until it is gone. Raises NotRunning when there is none,
    RequestTimeout when it does not end, and PermissionError where the directory is closed to this user."""
    told = {0}
    held = holders(run_dir)
    if not held:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.listdir(run_dir)  # in another user's directory no holder is seen, whoever runs there
        raise NotRunning(f"no node runs in {run_dir}")
    end = time.monotonic() + timeout
    while held:
        for pid in {holder.supervisor for holder in held} - told:
            told.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if time.monotonic() > end:
            raise RequestTimeout(f"the node in {run_dir} did not end within {timeout:g} s")
        time.sleep(_PAUSE)
        held = holders(run_dir)


def actor_pid(run_dir: Path, actor: str) -> int | None:
    """Return the process id of a running actor: wire, routing, store or api."""
    holder = lock_holder(run_dir / f"{actor}.lock")
    return holder.pid or None if holder else None


def patience(missing: Sequence[str], run_dir: Path) -> float:
    """Return for how many seconds a new node's actors, these at last, may be without an answer."""
    is_checking = [*missing] == ["store"] and actor_pid(run_dir, "store") is not None
    return _CHECK_SECONDS if is_checking else _START_SECONDS


def make_data_dir(data_dir: Path) -> None:
    """Make the directory if it is missing. Raises StartupError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"cannot use data directory {data_dir}: {error.strerror}; set node.data_dir"
        ) from None


def _on_client(method: Callable[Concatenate[Client, P], T]) -> Callable[Concatenate[Node, P], T]:
    """Return a method of `Client` as one of `Node`, with its signature and docstring."""

    @functools.wraps(method)
    def call(node: Node, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return method(node.client, *args, **kwargs)

    return call


class Node:
    """A node owned by this process. Made by `new_protocol`; also a context manager that ends with `close_wait`."""

    def __init__(self, environ: Mapping[str, str], config: Config) -> None:
        """Start the processes and wait until all of them answer. Raises StartupError when one cannot."""
        self.config = config
        endpoint = local_endpoint(config)
        if endpoint is None:
            raise ConfigError(
                f"api.endpoints: found {config.api.endpoints!r}, expected one that is ipc://…, too"
            )
        check_not_running(config)
        make_data_dir(config.data_dir)
        log_file = config.data_dir / "supervisord.log"
        command = supervisor_command(config)
        with log_file.open("ab") as log:
            self._log_start = log.tell()
            self._supervisor = subprocess.Popen(
                command,
                env=dict(environ) | {OWNER_VARIABLE: str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._log_file = log_file
        self.client = Client(endpoint)
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
        """Return when every actor answers. Raises StartupError when one has ended for good, or does not in time."""
        begun = time.monotonic()
        while missing := self._missing():
            lines = self._output()
            refusals = [line for line in lines if line.startswith("codexdht ")]  # exit code 78 goes with each
            if refusals:
                raise StartupError(refusals[-1].removeprefix("codexdht "))
            has_time = time.monotonic() - begun < patience(missing, self.config.run_dir)
            if self._supervisor.poll() is not None or not has_time:
                raise StartupError(
                    f"{' and '.join(missing)} of the node did not start; {self._hint(missing)}"
                )
            time.sleep(_PAUSE)

    def _missing(self) -> list[str]:
        """Return who does not answer, or has yet to bind the socket of a node that opens by itself."""
        try:
            stats = self.client.stats(timeout=0.5)
        except (RequestTimeout, NotRunning):
            return ["api"]
        is_opening = self.config.node.autostart and stats.life not in ("open", "started")
        return stats.missing or ["wire"] * is_opening

    def _output(self) -> list[str]:
        """Return what the processes have written since the start, but for logs: only what keeps them from it."""
        with self._log_file.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()

    def _hint(self, missing: list[str]) -> str:
        """Return the last line that tells why, and where it is."""
        file, lines = self._log_file, self._output()
        if not lines and self.config.log_dir is not None:
            file = self.config.log_dir / f"{missing[0]}.log"
            lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
        return f"the last line of {file}: {' '.join(lines[-1:])}"

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
            self._supervisor.kill()
            self._supervisor.wait()
        self._end_actors()
        if holders(self.config.run_dir):
            return  # another node runs there by now: what is there is its own
        for pattern in ("*.sock", "*.inbox", "*.sockets", "*.lock", "*.pid"):
            for leftover in self.config.run_dir.glob(pattern):
                leftover.unlink(missing_ok=True)

    def _end_actors(self) -> None:
        """Wait for the actors of a supervisord that was killed; those that hang are killed, too."""
        end = time.monotonic() + DYING_SECONDS
        while own := [h for h in holders(self.config.run_dir) if h.supervisor == self._supervisor.pid]:
            if time.monotonic() > end:
                for holder in own:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(holder.pid, signal.SIGKILL)
            time.sleep(_PAUSE)

    update_record = _on_client(Client.update_record)
    remove_providers_local = _on_client(Client.remove_providers_local)
    add_provider = _on_client(Client.add_provider)
    get_providers = _on_client(Client.get_providers)
    resolve = _on_client(Client.resolve)

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
    bootstrap: Bootstrap = (),
    config: str | Path | None = None,
    *,
    data_dir: str | Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Node:
    """Return a node of this process's own: running, but neither open nor started.

    private_key: 32 bytes or their hex, written to the data directory; None takes the key there, or makes one. listen,
    announce: multiaddresses. bootstrap: nodes to start from. config: a TOML file, default the shipped one.
    data_dir: default as the file says. settings: any other keys, as `{"store.lifetime": 3600}`. In paths ~ is the home
    directory. Raises ConfigError and StartupError.
    """
    values: dict[str, object] = {
        "node.autostart": False,
        "network.listen": listen,
        "network.announce": announce,
        "network.bootstrap": _texts(bootstrap),
        **({"node.data_dir": expanded(data_dir, ConfigError).absolute()} if data_dir is not None else {}),
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


def _texts(records: Bootstrap) -> list[str]:
    several = [records] if isinstance(records, (str, Record)) else records
    return [record.uri if isinstance(record, Record) else record for record in several]


def _text(value: object) -> str:
    """Return a setting as it stands in the environment."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(text)}" for key, text in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_key(path: Path, secret: bytes | str) -> None:
    """Put a given private key into a key file. Raises StartupError when another key is there, or it is none, or the
    file cannot be written."""
    from codexdht.actors.keyfile import keep_key
    from codexdht.identity import PrivateKey

    try:
        key = PrivateKey(bytes.fromhex(secret) if isinstance(secret, str) else secret)
    except (TypeError, ValueError):
        raise StartupError("private_key: expected 32 bytes or their 64 hexadecimal digits") from None
    keep_key(path, key)
