"""The run directory: entered by one user alone, and held by the actors of one node at a time.

Invariant: whoever holds the lock of `NAME.lock` has written there its own process id and that of its supervisord (0:
none). What the file says counts only while it is locked; unlike a process id, a lock cannot be somebody else's.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final, NamedTuple

from codexdht.config import RUN_DIR
from codexdht.errors import StartupError

SUPERVISOR_VARIABLE: Final = "CODEXDHT_SUPERVISOR_PID"
DYING_SECONDS: Final = 5.0
"""The actors of a supervisord that was killed notice within a second, and then stop in order."""
_LONGEST_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes
_PATIENCE: Final = 0.2
_PAUSE: Final = 0.02


class Holder(NamedTuple):
    """Who holds a lock: an actor and its supervisord, 0 where unknown."""

    pid: int
    supervisor: int

    def is_dying(self) -> bool:
        """Tell whether the supervisord is gone, so that the actor will be, too."""
        return self.supervisor != 0 and not is_alive(self.supervisor)


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent to hear of it does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def make_run_dir(run_dir: Path) -> None:
    """Make the directory if it is missing, and close it to others. Raises StartupError."""
    if len(os.fsencode(run_dir)) > _LONGEST_SOCKET_PATH - len("/routing.inbox"):
        raise StartupError(
            f"run directory {run_dir} is too long for socket names; set node.run_dir to a shorter one"
        )
    _make(run_dir)


def _make(run_dir: Path) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        run_dir.chmod(0o700)
    except OSError as error:
        raise StartupError(
            f"cannot use run directory {run_dir}: {error.strerror}; set node.data_dir"
        ) from None


def holders(run_dir: Path) -> list[Holder]:
    """Return who holds the directory: none where no node runs."""
    found = map(lock_holder, sorted(run_dir.glob("*.lock")))
    return [holder for holder in found if holder is not None]


def lock_holder(path: Path) -> Holder | None:
    """Return who holds a lock file, or None."""
    try:
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(lock)
    except FileNotFoundError:
        pass
    return None


def _read(lock: IO[str]) -> Holder:
    lock.seek(0)
    pid, supervisor, *_ = [*lock.read().split(), "0", "0"]
    return Holder(int(pid), int(supervisor))


@contextmanager
def locked(run_dir: Path, data_dir: Path, name: str) -> Iterator[None]:
    """Hold both directories for this actor, so that two nodes never share either. Raises StartupError.

    The lock of the data directory is where its run directory is by default, whatever the configured one is.
    """
    make_run_dir(run_dir)
    with ExitStack() as held:
        default = data_dir / RUN_DIR
        held.enter_context(_locked(default, name, f"data directory {data_dir}", "node.data_dir"))
        if run_dir.resolve() != default.resolve():
            held.enter_context(_locked(run_dir, name, f"run directory {run_dir}", "node.run_dir"))
        yield


@contextmanager
def _locked(folder: Path, name: str, what: str, setting: str) -> Iterator[None]:
    _make(folder)
    with _opened(folder / f"{name}.lock") as lock:
        if not _acquire(lock):
            raise StartupError(
                f"{what} is in use by another node (its {name} has pid {_read(lock).pid or 'unknown'}); "
                f"stop that node or set {setting}"
            )
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()} {_own_supervisor()}")
            lock.flush()
        except OSError as error:
            raise StartupError(f"cannot write {lock.name}: {error.strerror}; make room") from None
        yield


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+")
    except OSError as error:
        raise StartupError(f"cannot use {path}: {error.strerror}; set node.data_dir") from None


def _own_supervisor() -> int:
    if "SUPERVISOR_ENABLED" not in os.environ:
        return 0
    return int(os.environ.get(SUPERVISOR_VARIABLE, os.getppid()))


def _acquire(lock: IO[str]) -> bool:
    """Lock a file. Whoever asks whether a node runs holds the lock for a moment, so one refusal says nothing yet; and
    one whose supervisord was killed is waited for: nobody would start this actor again."""
    start = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - start
            if waited > (DYING_SECONDS if _read(lock).is_dying() else _PATIENCE):
                return False
            time.sleep(_PAUSE)
        else:
            return True
