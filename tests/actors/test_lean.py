"""What an actor's process does without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ACTORS = pytest.mark.parametrize("actor", ["wire", "routing", "store", "api"])


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@ACTORS
def test_an_actor_loads_nothing_it_does_not_use(actor: str, tmp_path: Path) -> None:
    """Neither OpenSSL's hashes nor protobuf nor inspect is there after the imports, nor once the log is a file; who
    wants one later gets it."""
    unused = {
        "_hashlib",
        "_pickle",
        "inspect",
        "google.protobuf",
        "multiaddr",
        "asyncio",
        "decimal",
        "pickle",
        "uuid",
    }
    program = f"""
import pathlib, sys
from codexdht.actors.__main__ import _shell
from codexdht.actors.log import set_up_logging
assert _shell([{actor!r}])
set_up_logging({actor!r}, "info", "text", pathlib.Path({str(tmp_path)!r}))
print(sorted({unused} & sys.modules.keys()))
import _hashlib, _pickle, typing_extensions
"""
    assert run(program) == "[]"


@ACTORS
def test_what_is_imported_later_is_the_real_thing(actor: str) -> None:
    """What stood in for a module while the libraries were imported is gone for a TALK handler that imports it."""
    program = f"""
from codexdht.actors.__main__ import _shell
assert _shell([{actor!r}])
import decimal, pickle, uuid
print(decimal.Decimal("0.1") + 1, pickle.loads(pickle.dumps([1])), uuid.UUID(int=1))
"""
    assert run(program) == "1.1 [1] 00000000-0000-0000-0000-000000000001"
