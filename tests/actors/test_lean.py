"""What an actor's process does without."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("actor", ["wire", "routing", "store", "api"])
def test_an_actor_loads_nothing_it_does_not_use(actor: str) -> None:
    """Neither OpenSSL's hashes nor protobuf nor inspect is there after the imports; who wants one later gets it."""
    program = f"""
import sys
from codexdht.actors.__main__ import _shell
assert _shell([{actor!r}])
print(sorted({{"_hashlib", "_pickle", "inspect", "google.protobuf", "multiaddr", "asyncio"}} & sys.modules.keys()))
import _hashlib, _pickle, typing_extensions
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
