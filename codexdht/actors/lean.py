"""Leaves out of a process what its libraries import and nothing in it uses.

The interpreters of a node share one memory budget. OpenSSL's hashes are 3.4 MB in each (hashlib has its own, which are
no slower for what is hashed here), typing_extensions and the `inspect` that it imports 0.8 MB (msgspec takes `typing`
in its place), pickle 0.6 MB, decimal and uuid as much. msgspec, pyzmq and logging.handlers take names from these at
their import, for types and methods that no actor comes across. OpenSSL's ciphers of the past are 0.1 MB.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

_OWN_HASHES: Final = ("_sha256", "_sha2")
"""Of Python 3.11, and of later ones. Some distributions build Python without; OpenSSL's are needed then."""


class _Decimal:
    class Decimal: ...


class _Uuid:
    class UUID: ...

    class SafeUUID:
        unknown = None


class _Pickle:
    DEFAULT_PROTOCOL = 0


_STAND_INS: Final = {"decimal": _Decimal, "uuid": _Uuid, "pickle": _Pickle}
"""The names that libraries want of these modules when they are imported, and not later."""
_NO_OLD_CIPHERS: Final = "CRYPTOGRAPHY_OPENSSL_NO_LEGACY"


@contextmanager
def lean_imports() -> Iterator[None]:
    """Have imports go without these modules for a while. A TALK handler that imports them later gets them."""
    hidden = {"typing_extensions", "_pickle"} | ({"_hashlib"} if any(map(find_spec, _OWN_HASHES)) else set())
    modules: dict[str, Any] = dict.fromkeys(hidden) | _STAND_INS  # to import None is an ImportError
    absent = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules.update(absent)
    os.environ.setdefault(_NO_OLD_CIPHERS, "1")
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
