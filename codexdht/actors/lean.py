"""Leaves out of a process what its libraries import and nothing in it uses.

The interpreters of a node share one memory budget. OpenSSL's hashes are 3.4 MB in each (hashlib has its own, which are
no slower for what is hashed here), typing_extensions and the `inspect` that it imports 0.8 MB (msgspec takes `typing`
in its place), the C half of pickle 0.1 MB (pyzmq imports pickle; no actor pickles).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

_OWN_HASHES: Final = ("_sha256", "_sha2")
"""Of Python 3.11, and of later ones. Some distributions build Python without; OpenSSL's are needed then."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Have imports go without these modules for a while. A TALK handler that imports them later gets them."""
    names = {"typing_extensions", "_pickle"} | ({"_hashlib"} if any(map(find_spec, _OWN_HASHES)) else set())
    hidden = names - sys.modules.keys()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # to import it is an ImportError now
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
