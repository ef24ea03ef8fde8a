"""The watchdog, in processes that it may end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from codexdht.actors.watchdog import Watchdog

HUNG = """
import re
from codexdht.actors.watchdog import Watchdog

def hung():
    re.fullmatch("(a*)*b", "a" * 64)  # one call into C that holds the interpreter for years

with Watchdog(0.2) as watchdog:
    hung()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_hang_ends_the_process_and_says_where() -> None:
    """A process that hangs inside a C function ends with code 1, and its stack names the Python function."""
    ended = run(HUNG)
    assert ended.returncode == 1
    assert "in hung" in ended.stderr


def test_a_fed_process_lives_on() -> None:
    """Feeding puts the end off, and leaving the watchdog calls it off, however long the process then takes."""
    code = HUNG.replace("    hung()", "    [print(watchdog.feed()) for _ in range(3)]")
    ended = run(code + "\nimport threading\nthreading.Event().wait(0.4)\nprint('alive')")
    assert (ended.returncode, ended.stdout.split()) == (0, ["False", "False", "False", "alive"])


def test_an_error_calls_the_watchdog_off() -> None:
    """What is raised inside passes through, and the process is not ended afterwards."""
    with pytest.raises(ValueError, match="mine"), Watchdog(60):
        raise ValueError("mine")
